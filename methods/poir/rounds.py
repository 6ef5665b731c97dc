"""Rounds of collection and training, each a stage of its own in the store."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness import processes
from harness.errors import DataError, HarnessError
from harness.files import whole_folder, write_atomic
from harness.models import lifetime, loading, precision
from harness.models.causal_lm import CausalLM
from harness.schema import Cost
from harness.settings import full_precision, training_key
from harness.store import JsonRow
from harness.training import Fit, Stage
from methods.poir.choice import pair
from methods.poir.collect import Models, collected, questions, scorable
from methods.poir.config import PoirConfig
from methods.poir.scoring import Question
from methods.poir.step import collate, examples, pair_loss

CANDIDATE = ("score", "good", "bad", "dropped", "prompt", "text")
"""What is shown of a candidate, in this order."""
DIGITS = 4
ROLE = "causal-lm"
CHECKPOINT = "checkpoint"
AT_USE = {"temperature", "top_p"}
"""What a rewriter is used with, on which its training does not depend."""
COLLECTION = "collection.jsonl"
"""What a round collected, beside its checkpoint."""


def train(fit: Fit, config: PoirConfig) -> None:
    """All rounds; the model is then the last one's, and its checkpoint says how it rewrites."""
    if config.collect.endpoint and config.rounds > 1:
        raise HarnessError(
            "collect.endpoint serves the initial model, which later rounds no longer sample from: "
            "set rounds=1, or sample in memory."
        )
    asked = questions(fit.rows, fit.dataset, config.collect)
    kept = scorable(fit, asked, config.train.too_long)
    drawn = torch.randperm(len(kept), generator=torch.Generator().manual_seed(fit.seed)).tolist()
    order = [kept[i] for i in drawn]
    stages: list[Stage] = []
    for number in range(config.rounds):
        some = {i: asked[i] for i in of_round(order, number, config.collect.limit)}
        stages.append(_round(fit, config, number, some, stages[-1] if stages else None))
    fit.model = None
    lifetime.release()
    fit.model = _loaded(fit, stages[-1].folder / CHECKPOINT)
    fit.cost = _total([stage.cost for stage in stages])
    for number, stage in enumerate(stages, start=1):
        lines = (stage.folder / "curves.jsonl").read_text(encoding="utf-8").splitlines()
        fit.curves += [{"round": number, **json.loads(line)} for line in lines]

    def save(folder: Path) -> None:
        fit.model.save(folder)
        config.asked.write(folder)
        for number, stage in enumerate(stages, start=1):
            shutil.copyfile(stage.folder / COLLECTION, folder / f"collection-{number}.jsonl")

    fit.save = save


def of_round(order: Sequence[int], number: int, limit: int | None) -> list[int]:
    """The rows of a round: the next ones, from the start again after the last."""
    if limit is None or limit >= len(order):
        return list(order)
    return [order[(number * limit + i) % len(order)] for i in range(limit)]


def _round(
    fit: Fit, config: PoirConfig, number: int, asked: Mapping[int, Question], before: Stage | None
) -> Stage:
    """Collect with the model as it is, and train it on what was chosen.

    Args:
        asked: the round's prompts by the indices of their rows.
    """
    start = fit.base if before is None else before.folder / CHECKPOINT
    inputs = {
        "config": training_key(config, rounds=True, rewriting=AT_USE),
        "round": number,
        "from": loading.identity(start),
    }

    def run(stage: Fit) -> None:
        initial = stage.model
        if before is not None:
            initial = stage.model = fit.model = None
            lifetime.release()
            initial = _loaded(fit, fit.base)
            stage.model = _loaded(fit, start)
        models = Models(stage.model, initial)
        made_by = {"rewriter": inputs["from"], "round": number}
        prompts = list(asked.values())
        history = collected(stage, models, prompts, config.asked, config.collect, made_by)
        if processes.is_main():
            _write(stage.folder / COLLECTION, history)
        _train(stage, initial, history, config, list(asked))
        if processes.is_main():
            with whole_folder(stage.folder / CHECKPOINT) as partial:
                stage.model.save(partial)

    return fit.stage(f"round {number + 1}", inputs, run)


def _train(
    stage: Fit,
    initial: CausalLM,
    history: Sequence[JsonRow],
    config: PoirConfig,
    rows_asked: Sequence[int],
) -> None:
    made = {
        index: pair(row, config.collect, stage.seed)
        for index, row in zip(rows_asked, history, strict=True)
    }
    found = {index: each for index, each in made.items() if each is not None}
    pairs = list(found.values())
    if len(pairs) < config.train.batch_size:
        raise DataError(
            f"{len(pairs)} of {len(history)} prompts gave a pair, fewer than one batch of "
            f"{config.train.batch_size}{_dropped(history)}: look at {stage.folder / COLLECTION}; "
            "give more prompts, lower collect.margin or train.batch_size, or raise "
            "collect.temperature."
        )
    rows = examples(
        stage,
        initial,
        pairs,
        config.asked,
        config.train,
        [stage.dataset.place(None, index) for index in found],
    )
    tokens = sum(len(row.chosen.answer) for row in rows) / len(rows)
    step = pair_loss(config.loss, tokens)
    stage.train(rows, collate(stage.model), step, config.train, _adapters(stage.model))


def _loaded(fit: Fit, folder: Path) -> Any:
    """Load a model as the fit's own was."""
    dtype = precision.dtype(precision.of_loading(folder, full_precision(fit.config)))
    return loading.load(folder, ROLE, dtype)


def _dropped(history: Sequence[JsonRow]) -> str:
    """How many rewrites did not count, and why most did not; empty where all did."""
    rounds = (each for row in history for each in row["rounds"])
    candidates = [one for each in rounds for one in each["candidates"]]
    reasons = Counter(one["dropped"] for one in candidates if one.get("dropped"))
    if not reasons:
        return ""
    ((why, count),) = reasons.most_common(1)
    return f" ({reasons.total()} of {len(candidates)} rewrites did not count, {count} were {why})"


def _adapters(model: CausalLM) -> list[nn.Parameter] | None:
    """What trains where an earlier round has adapted the model: its adapters again."""
    if not hasattr(model.module, "peft_config"):
        return None
    named = model.module.named_parameters()
    return [parameter for name, parameter in named if "lora_" in name]


def _total(costs: Sequence[Cost]) -> Cost:
    """Of rounds that train the same weights; what collecting takes is not counted."""
    return costs[0].model_copy(
        update={
            "train_tokens": sum(cost.train_tokens for cost in costs),
            "train_flops": sum(cost.train_flops for cost in costs),
        }
    )


def readable(history: JsonRow) -> Iterator[JsonRow]:
    """A prompt's history as rows for people: one per time that it was rewritten, short numbers."""
    for number, each in enumerate(history["rounds"], start=1):
        yield {
            "prompt": history["prompt"],
            "time": number,
            "rewritten": each["rewritten"],
            "decision": each["decision"],
            "candidates": [
                {key: _short(one[key]) for key in CANDIDATE if key in one}
                for one in each["candidates"]
            ],
        }


def _short(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value


def _write(path: Path, histories: Sequence[JsonRow]) -> None:
    rows = (row for history in histories for row in readable(history))
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
