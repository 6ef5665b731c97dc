"""Outputs that runs keep beside the leaderboards, and what can be tested from them alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import HarnessError
from harness.leaderboard import DIGITS
from harness.schema import CorpusTest, Entry, digest
from harness.seals import read_rows, write_rows

KEYS = {"id", "outputs", "reference"}
"""What a row of outputs has, beside others."""


def outputs_path(runs: Path, entry: Entry) -> Path:
    """Where the outputs of an entry lie, by what its leaderboard says of it: whose they are and
    what came out, so that another result at the same place has outputs of its own."""
    asked: Any = {**dict.fromkeys(("task", "method", "config", "limit", "items"), True)}
    # The hash of trained weights varies with the machine, as in `Entry.result`.
    what = entry.model_dump(mode="json", include={**asked, "model": {"name", "base"}})
    # A leaderboard rounds what was measured; adding 0 turns -0 into 0.
    values = {
        name: None if metric.value is None else f"{metric.value + 0.0:.{DIGITS}g}"
        for name, metric in entry.metrics.items()
    }
    return runs / "outputs" / f"{digest({**what, 'metrics': values})}.jsonl"


def write_outputs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep the outputs of an entry with their scores, a row per item."""
    write_rows(path, rows)


def corpus_tests(a: Entry, b: Entry, runs: Path) -> Mapping[str, CorpusTest]:
    """Paired tests of corpus metrics between two entries of the same items, from their outputs.

    Nothing where either's outputs are not below `runs`, or the task has no such metric.
    """
    if not (runs / "outputs").is_dir():
        return {}
    sides = [read_outputs(outputs_path(runs, entry), entry.items.n) for entry in (a, b)]
    if not all(sides) or not registry.registered("tasks", a.task.name):
        return {}
    from harness.plan import task_with
    from harness.task import Prediction

    task = task_with(a.task.name, a.task.options)
    references = [row["reference"] for row in sides[0]]
    first, second = (
        [Prediction(row["id"], tuple(row["outputs"])) for row in side] for side in sides
    )
    return task.corpus_tests(references, first, second)


def read_outputs(path: Path, count: int) -> list[dict[str, Any]]:
    """The rows of outputs that a run kept; none where they are not there."""
    if not path.exists():
        return []
    rows = read_rows(path)
    if len(rows) != count or not all(isinstance(row, dict) and row.keys() >= KEYS for row in rows):
        raise HarnessError(f"{path}: damaged (not {count} rows of outputs): remove it.")
    return rows
