"""What a training took, as the folders of its fit and of its stages say."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from harness.schema import Cost

NOTE = "stages.json"
"""Beside a fit's checkpoint: its stages with what each took."""


class Took(NamedTuple):
    """Parameters, tokens and operations of a training, and its seconds."""

    cost: "Cost"
    seconds: float


def of_fit(run: Path, label: str) -> Took:
    """What the whole training of one method and seed of a run took; of its stages, where it has
    some: those that an earlier run had trained count as well."""
    folder = checkpoint(run, label).parent
    if (folder / NOTE).exists():
        return of_stages(run, label)
    said = _read(folder / "fit.json")
    return _took([said])


def of_stages(run: Path, label: str, names: Iterable[str] | None = None) -> Took:
    """What some stages took together; all without `names`."""
    said = _read(checkpoint(run, label).parent / NOTE)
    return _took([said[name] for name in (said if names is None else names) if name in said])


def checkpoint(run: Path, label: str) -> Path:
    """The checkpoint of one method and seed of a run; raises `HarnessError` where it is gone."""
    from harness.errors import HarnessError

    folder = run / label / "checkpoint"
    if not folder.exists():
        raise HarnessError(f"{folder}: is not there: the run has not ended, or was cleaned up.")
    return folder.resolve()


def figures(took: Took) -> tuple[float, float, float, float]:
    """Trained parameters, tokens, operations and seconds."""
    cost = took.cost
    return cost.trainable_parameters, cost.train_tokens, cost.train_flops, took.seconds


def total(costs: "Iterable[Cost]") -> "Cost":
    """Costs of stages, each of which trains parameters of its own."""
    from harness.schema import Cost

    parts = list(costs)
    return Cost(
        total_parameters=max(cost.total_parameters for cost in parts),
        trainable_parameters=sum(cost.trainable_parameters for cost in parts),
        train_tokens=sum(cost.train_tokens for cost in parts),
        train_flops=sum(cost.train_flops for cost in parts),
        uncounted="; ".join(dict.fromkeys(cost.uncounted for cost in parts if cost.uncounted)),
    )


def _took(said: list[dict[str, Any]]) -> Took:
    from harness.schema import Cost

    costs = [Cost.model_validate(each["cost"]) for each in said]
    return Took(total(costs), sum(each["seconds"] for each in said))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
