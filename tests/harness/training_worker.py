"""Trains a tiny LLaVA by the house's trainer, in processes that tests launch and kill."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from harness import processes
from harness.dataset import EmbeddedDataset
from harness.losses import answer_log_probs
from harness.method import MethodConfig
from harness.models.vision_language import VisionLanguage
from harness.settings import TrainSettings
from harness.store import Store
from harness.training import Fit

ROWS = [[5 + (3 * i + j * j) % 40 for j in range(4 + i % 5)] for i in range(24)]


def collate(rows):
    ids = pad_sequence([torch.tensor([1, *row, 2]) for row in rows], True, 0)
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def loss(module, batch, pause=0.0):
    time.sleep(pause)
    mask = batch["attention_mask"].bool()
    mask[:, 0] = False
    log_probs = answer_log_probs(module, batch, mask)
    mean = -(log_probs.sum(1) / mask.sum(1)).mean()
    return mean, {"nll": mean.detach()}


def make_fit(model: Path, folder: Path) -> Fit:
    return Fit(
        config=MethodConfig(),
        model=VisionLanguage.load(model),
        dataset=EmbeddedDataset("rows", {"train": list}),
        rows=ROWS,
        seed=3,
        folder=folder,
        store=Store(folder / "store"),
        inputs={},
        resolve=str,
    )


def train(
    model: Path,
    folder: Path,
    settings: dict[str, Any],
    pause: float,
    environment: Mapping[str, str] | None,
) -> None:
    """Train and write what came out.

    Args:
        pause: seconds to sleep per step.
        environment: laid over this process's, as torchrun does it.
    """
    os.environ.update(environment or {})
    processes.start()
    fit = make_fit(model, folder)
    fit.train(ROWS, collate, lambda m, b: loss(m, b, pause), TrainSettings(**settings))
    if processes.is_main():
        torch.save(fit.model.module.state_dict(), folder / "weights.pt")
        (folder / "fit.json").write_text(
            json.dumps({"cost": fit.cost.model_dump(), "losses": [c["loss"] for c in fit.curves]})
        )
