"""Small worlds for POIR's tests: the errands base, rows of prompts, a fit over them."""

from pathlib import Path
from typing import Any

import torch

from harness.dataset import EmbeddedDataset
from harness.models import loading
from harness.models.rewriting import Rewriting
from harness.store import Store
from harness.training import Fit
from methods.poir.config import PoirConfig
from tasks.flan.lab import plugins

ERRANDS = Rewriting(template="rewrite : {prompt} =", temperature=0.7, max_new_tokens=16)
COLLECT = {
    "temperature": 0.7,
    "top_p": 1.0,
    "score": "clamped",
    "response": "{prompt} =",
    "candidates": 4,
    "recirculations": 2,
}
TRAIN = {"lr": 1e-4, "epochs": 1, "batch_size": 8, "micro_batch": 8, "schedule": "linear"}


def settings(**sections: Any) -> PoirConfig:
    """Small settings of the lab, with sections laid over them."""
    collect = {**COLLECT, **sections.pop("collect", {})}
    train = {**TRAIN, **sections.pop("train", {})}
    return PoirConfig.model_validate(
        {"rewriting": ERRANDS.model_dump(), "collect": collect, "train": train, **sections}
    )


def prompt_rows(count: int) -> list[dict[str, Any]]:
    return list(plugins.prompts.rows("train")[:count])


def base() -> Path:
    return loading.resolve("lab/errands")


def make_fit(folder: Path, rows: list[dict[str, Any]], seed: int = 0, config: Any = None) -> Fit:
    """A fit of the errands base on rows, with a store of its own in the folder."""
    torch.manual_seed(0)
    return Fit(
        config=config or settings(),
        model=loading.load(base(), "causal-lm"),
        dataset=EmbeddedDataset("test", {"train": lambda: rows}),
        rows=rows,
        seed=seed,
        folder=folder / f"fit-{seed}",
        store=Store(folder / "store"),
        inputs={"test": True},
        resolve=str,
        base=base().absolute(),
    )
