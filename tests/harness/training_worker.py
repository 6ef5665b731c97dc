"""Trains a tiny LLaVA by the house's trainer; a script, so that tests can launch and kill it.

Usage: training_worker.py MODEL FOLDER SETTINGS_JSON [seconds to sleep per step]
"""

import json
import sys
import time
from pathlib import Path

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


def main() -> None:
    model, folder, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    pause = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    processes.start()
    fit = make_fit(model, folder)
    fit.train(ROWS, collate, lambda m, b: loss(m, b, pause), TrainSettings(**settings))
    if processes.is_main():
        torch.save(fit.model.module.state_dict(), folder / "weights.pt")
        (folder / "fit.json").write_text(
            json.dumps({"cost": fit.cost.model_dump(), "losses": [c["loss"] for c in fit.curves]})
        )


if __name__ == "__main__":
    main()
