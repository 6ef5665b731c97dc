"""The scenes as plugins: the world as a dataset, its base models."""

from pathlib import Path

from harness.dataset import EmbeddedDataset
from harness.models.embedded import EmbeddedModel
from tasks.multimodal.lab.rows import SPLITS, truth

WEIGHTS = Path(__file__).parent.parent / "weights"

scenes = EmbeddedDataset(
    summary="Drawn scenes of coloured shapes with the truth of every sentence (lab)",
    splits={"questions": SPLITS["questions"], **SPLITS},
    truth=truth,
)

scenes_clip = EmbeddedModel(
    summary="A CLIP of 0.5M parameters trained on the scenes (lab)",
    role="dual-encoder",
    folder=WEIGHTS / "scenes-clip",
    builder="tasks.multimodal.lab.models:build_clip",
)

scenes_vlm = EmbeddedModel(
    summary="A LLaVA of 0.7M parameters that hallucinates shapes on the scenes, seed 0 (lab)",
    role="vision-language",
    folder=WEIGHTS / "scenes-vlm-0",
    builder="tasks.multimodal.lab.models:build_vlm",
    seed=0,
    arguments={"clip": scenes_clip.folder},
)

scenes_vlm_1 = EmbeddedModel(
    summary="The same from seed 1 (lab)",
    role="vision-language",
    folder=WEIGHTS / "scenes-vlm-1",
    builder="tasks.multimodal.lab.models:build_vlm",
    seed=1,
    arguments={"clip": scenes_clip.folder},
)

scenes_vlm_2 = EmbeddedModel(
    summary="The same from seed 2 (lab)",
    role="vision-language",
    folder=WEIGHTS / "scenes-vlm-2",
    builder="tasks.multimodal.lab.models:build_vlm",
    seed=2,
    arguments={"clip": scenes_clip.folder},
)
