"""Titles as batches, and the loop that trains the lab's base models."""

import json
import random
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tasks.translation.lab.grammar import SPACINGS, titles

IGNORED = -100
BATCH = 32
POOL = 16
"""Batches that are cut from one pool sorted by length, so that little is padded."""


class Corpus:
    """Train titles of every spacing, tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> None:
        """Draw `count` titles of each spacing."""
        drawn = list(
            chain.from_iterable(
                islice(titles("train", spacing, seed), count) for spacing in SPACINGS
            )
        )
        self.pad = tokenizer.pad_token_id
        sources = tokenizer([title.source for title in drawn])["input_ids"]
        targets = tokenizer(text_target=[title.target for title in drawn])["input_ids"]
        self.pairs = list(zip(sources, targets, strict=True))

    def batches(self, rng: random.Random) -> Iterator[dict[str, Tensor]]:
        """Endless batches: input_ids, attention_mask and labels, [batch, length]."""
        while True:
            order = rng.sample(range(len(self.pairs)), len(self.pairs))
            for start in range(0, len(order) - BATCH * POOL + 1, BATCH * POOL):
                pool = [self.pairs[i] for i in order[start : start + BATCH * POOL]]
                pool.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
                cut = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
                rng.shuffle(cut)
                yield from map(self._batch, cut)

    def _batch(self, pairs: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
        source = _padded([source for source, _ in pairs], self.pad)
        labels = _padded([target for _, target in pairs], IGNORED)
        return {
            "input_ids": source,
            "attention_mask": (source != self.pad).long(),
            "labels": labels,
        }


def _padded(rows: list[list[int]], value: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def optimize(model: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float) -> list[float]:
    """Train with AdamW and a one-cycle rate whose peak is `rate`; the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


def write_curve(folder: Path, losses: list[float], **about: object) -> None:
    """Write `curve.json`: the loss every tenth step (mean of ten) and what else is `about` it."""
    means = [round(float(np.mean(losses[i : i + 10])), 4) for i in range(0, len(losses), 10)]
    curve = {**about, "step": list(range(10, len(losses) + 1, 10)), "loss": means}
    (folder / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
