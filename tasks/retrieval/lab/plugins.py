"""The garments as plugins: the dataset, and the base model."""

from pathlib import Path

from harness.dataset import EmbeddedDataset
from harness.models.embedded import EmbeddedModel
from tasks.retrieval.lab.rows import splits, truth

WEIGHTS = Path(__file__).parent.parent / "weights"

garments = EmbeddedDataset(
    summary="Drawn garments with titles as shops write them (lab)", splits=splits(), truth=truth
)

garments_clip = EmbeddedModel(
    summary="A CLIP of 0.7M parameters, pretrained on photographs of many things (lab)",
    role="dual-encoder",
    folder=WEIGHTS / "garments-clip",
    builder="tasks.retrieval.lab.training:build",
)
