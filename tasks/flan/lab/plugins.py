"""The errands as plugins: a general set, one for each domain, their union, and the base model."""

from functools import partial
from pathlib import Path

from harness.dataset import EmbeddedDataset
from harness.models.embedded import EmbeddedModel
from tasks.flan.lab.rows import domain_rows, general_rows, mixture_rows, prompt_rows, splits

WEIGHTS = Path(__file__).parent.parent / "weights"

general = EmbeddedDataset(
    summary="Errands that the base model knows, of all six domains (lab)",
    splits=splits(general_rows),
)

sums = EmbeddedDataset(
    summary="Errands with sums modulo ten, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "sums")),
)

lists = EmbeddedDataset(
    summary="Errands with lists of numbers, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "lists")),
)

facts = EmbeddedDataset(
    summary="Errands about an invented knowledge base, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "facts")),
)

news = EmbeddedDataset(
    summary="Errands about headlines, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "news")),
)

lexicon = EmbeddedDataset(
    summary="Errands with an invented language, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "lexicon")),
)

strings = EmbeddedDataset(
    summary="Errands with letters, mostly unknown to the base model (lab)",
    splits=splits(partial(domain_rows, "strings")),
)

mixture = EmbeddedDataset(
    summary="The union of the general errands and those of every domain (lab)",
    splits=splits(mixture_rows),
)

prompts = EmbeddedDataset(
    summary="Vague and explicit errands with right and wrong answers, to be worded better (lab)",
    splits=splits(prompt_rows),
)

errands = EmbeddedModel(
    summary="A Llama of 0.9M parameters that runs errands of six domains (lab)",
    role="causal-lm",
    folder=WEIGHTS / "errands",
    builder="tasks.flan.lab.training:build",
)
