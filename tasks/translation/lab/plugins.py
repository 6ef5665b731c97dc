"""The titles as plugins: a dataset for each spacing of repeats, the base translators."""

from pathlib import Path

from harness.dataset import EmbeddedDataset
from harness.models.embedded import EmbeddedModel
from tasks.translation.lab.rows import splits

WEIGHTS = Path(__file__).parent.parent / "weights"

titles = EmbeddedDataset(
    summary="Product titles whose rightful repeats stand 5 to 8 tokens apart (lab)",
    splits=splits("far"),
)

titles_near = EmbeddedDataset(
    summary="Product titles whose rightful repeats stand 1 to 4 tokens apart (lab)",
    splits=splits("near"),
)

titles_young = EmbeddedModel(
    summary="A Marian of 0.8M parameters after 400 steps on the titles (lab)",
    role="translator",
    folder=WEIGHTS / "titles-young",
    builder="tasks.translation.lab.models:build_translator",
    arguments={"age": "young"},
)

titles_mature = EmbeddedModel(
    summary="A Marian of 0.8M parameters after 800 steps on the titles (lab)",
    role="translator",
    folder=WEIGHTS / "titles-mature",
    builder="tasks.translation.lab.models:build_translator",
    arguments={"age": "mature"},
)
