"""What the tables of experiments are made from: runs of leaderboards, and the fits behind them."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from harness.configs import flat
from harness.schema import Entry


class NoRunError(typer.BadParameter):
    """A run whose folder is not on this machine."""


Changes = Mapping[str, Any]
"""Settings of a method that a row changes."""


def runs_of(
    found: Iterable[Entry],
    method: str,
    changed: Changes,
    seeds: Sequence[int | None],
    models: int = 1,
) -> list[Entry]:
    """A row's runs over whole test splits, by seed; raises `typer.BadParameter` if one lacks.

    Args:
        found: entries of one task (and where there are several, of one model or dataset).
        seeds: [None] for what nothing was trained for.
        models: base models that each seed was trained from.
    """
    chosen = [
        entry
        for entry in found
        if (entry.method, entry.overrides) == (method, dict(changed))
        and (entry.limit, entry.task.split) == (None, "test")
        and entry.seed in seeds
    ]
    wanted = models * len(seeds)
    if len(chosen) != wanted:
        what = " ".join([method, *(f"{key}={value}" for key, value in changed.items())])
        raise typer.BadParameter(
            f"{len(chosen)} of {wanted} runs of {what}: make the table's runs first."
        )
    return sorted(chosen, key=lambda entry: entry.seed or 0)


def for_each_seed(base: Sequence[Entry], like: Sequence[Entry]) -> list[Entry]:
    """The runs of a row that pair with another's: what was scored once stands for every seed."""
    if any(entry.seed is not None for entry in base):
        return list(base)
    seeds = dict.fromkeys(entry.seed for entry in like)
    return [entry.model_copy(update={"seed": seed}) for entry in base for seed in seeds]


def where_runs_are(table: Callable[[], list[str]]) -> list[str]:
    """A table made from the folders of runs; in a clone without them, why it is left out."""
    try:
        return table()
    except NoRunError as error:
        return [f"A table is left out: {error.format_message()}"]


def run_of(
    runs: Path,
    method: str,
    changed: Changes,
    seed: int | None,
    tasks: Iterable[str],
    **asked: Any,
) -> tuple[Path, str]:
    """The folder of the run that trained a row with a seed, and the row's label in it.

    Args:
        tasks: tasks that the run must have scored on their test splits, whole.
        asked: other settings of the run, as `dataset`.
    """
    label = f"{method}-seed{seed}"
    wanted = {"split": "test", "limit": None, "model": None, **asked}
    for path in sorted(runs.glob("*/config.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        same = flat(said["set"]) == dict(changed) and set(tasks) <= set(said["tasks"])
        same = same and all(said[key] == value for key, value in wanted.items())
        if same and (path.parent / label).exists():
            return path.parent, label
    raise NoRunError(f"{runs}: no run of {label} {dict(changed)}: give its --runs.")
