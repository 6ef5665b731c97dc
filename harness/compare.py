"""Two states of the leaderboards -> what became better or worse, tested item by item."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness import leaderboard, revisions
from harness.contrast import Contrast, contrast, holm, unpairable
from harness.errors import HarnessError
from harness.kept import corpus_tests
from harness.schema import CorpusTest, Entry, Strict, canonical_json

Boards = Mapping[tuple[bool, str], Mapping[str, Entry]]
"""(lab, task) -> place -> entry."""


class Row(Strict):
    """One entry in both states."""

    task: str
    lab: bool
    place: str
    primary: str
    higher_is_better: bool
    metrics: dict[str, tuple[float | None, float | None]]
    """All metrics of the task, before and after; absent ones are None."""
    contrast: Contrast | None
    """None where the result is unchanged."""
    verdict: Literal["better", "worse", "no evidence", "unchanged"]
    corpus: dict[str, CorpusTest] = {}
    """Paired tests of corpus metrics, where the outputs of both sides are on disk."""


class Refusal(Strict):
    """An entry that was not compared, and why."""

    task: str
    lab: bool
    place: str
    reason: str


class Comparison(Strict):
    """What changed from `a` to `b`; differences are b - a."""

    a: str
    b: str
    rows: list[Row]
    refused: list[Refusal]


def compare(
    a: str | Path,
    b: str | Path,
    leaderboards: Path = Path("leaderboards"),
    runs: Path = Path("runs"),
) -> Comparison:
    """Compare two states, each a file, a folder of leaderboards or a git revision.

    Entries pair by task and place, and only where task card, items, split, limit and the like are
    equal; others are listed with the reason. Equal results are `unchanged` and not tested; Holm's
    correction runs over all others. `leaderboards` is the folder that a revision is read in,
    `runs` the one where outputs may lie.
    """
    before, after = load(a, leaderboards), load(b, leaderboards)
    result = compare_boards(before, after, str(a), str(b))
    return result.model_copy(
        update={"rows": [_tested(row, before, after, runs) for row in result.rows]}
    )


def _tested(row: Row, a: Boards, b: Boards, runs: Path) -> Row:
    """A changed row with paired tests of its task's corpus metrics, where outputs are there."""
    if row.contrast is None:
        return row
    old, new = a[row.lab, row.task][row.place], b[row.lab, row.task][row.place]
    return row.model_copy(update={"corpus": corpus_tests(old, new, runs)})


def compare_boards(a: Boards, b: Boards, name_a: str = "a", name_b: str = "b") -> Comparison:
    """Compare leaderboards that are already read."""
    rows: list[Row] = []
    refused: list[Refusal] = []
    for lab, task in sorted({*a, *b}):
        old, new = a.get((lab, task), {}), b.get((lab, task), {})
        for place in sorted({*old, *new}):
            reason = _refusal(place, old, new, (name_a, name_b))
            if reason is not None:
                refused.append(Refusal(task=task, lab=lab, place=place, reason=reason))
            else:
                rows.append(_row(old[place], new[place]))
    judged = iter(holm([row.contrast for row in rows if row.contrast]))
    return Comparison(
        a=name_a,
        b=name_b,
        rows=[_judged(row, next(judged)) if row.contrast else row for row in rows],
        refused=refused,
    )


def any_worse(comparison: Comparison) -> bool:
    """Whether an entry became worse, for `--fail-on worse`; refused ones do not count."""
    return any(row.verdict == "worse" for row in comparison.rows)


def load(source: str | Path, leaderboards: Path = Path("leaderboards")) -> Boards:
    """Read a file, a folder or a git revision (`HEAD~1`, `main:leaderboards`).

    A name that is both a path and a revision is refused; a `Path` is never a revision.
    """
    path = Path(source)
    if os.path.exists(path):  # unlike Path.exists, False for overlong names
        plain = isinstance(source, str) and not source.startswith((".", "/"))
        if plain and revisions.is_revision(str(source), leaderboards):
            raise HarnessError(
                f"'{source}' is both a path and a git revision. Write ./{source} for the path, "
                f"refs/heads/{source} or refs/tags/{source} for the revision."
            )
        if path.is_file():
            board = leaderboard.read(path)
            return {(board.lab, board.task): board.entries}
        boards = leaderboard.load_all(path)
        if not boards:
            raise HarnessError(f"{path}: no leaderboards (*.json, lab/*.json) in this folder.")
        return boards
    if isinstance(source, Path):
        raise HarnessError(f"{source}: no such file or folder.")
    return _load_revision(source, leaderboards)


def _load_revision(spec: str, leaderboards: Path) -> Boards:
    boards: dict[tuple[bool, str], dict[str, Entry]] = {}
    for path, text in revisions.read_revision(spec, leaderboards).items():
        board = leaderboard.parse(text, f"{spec.partition(':')[0]}:{path}")
        boards[board.lab, board.task] = board.entries
    return boards


def _refusal(
    place: str, old: Mapping[str, Entry], new: Mapping[str, Entry], names: tuple[str, str]
) -> str | None:
    if place in old and place in new:
        if old[place].result() == new[place].result():
            return None
        return unpairable(old[place], new[place])
    present, absent, side = (old, new, names[0]) if place in old else (new, old, names[1])
    entry = present[place]
    for other in absent.values():
        if other.place not in present and _asked(other) == _asked(entry):
            first, second = (entry, other) if place in old else (other, entry)
            return f"only in {side}; {unpairable(first, second)}"
    return f"only in {side}"


def _asked(entry: Entry) -> str:
    """What a place names, but for split and limit."""
    model = entry.model.name
    return canonical_json([entry.method, model, entry.dataset, entry.overrides, entry.seed])


def _row(old: Entry, new: Entry) -> Row:
    same = old.result() == new.result()
    return Row(
        task=old.task.name,
        lab=old.lab,
        place=old.place,
        primary=old.primary,
        higher_is_better=old.higher_is_better,
        metrics={
            name: (_value(old, name), _value(new, name))
            for name in dict.fromkeys([*old.metrics, *new.metrics])
        },
        contrast=None if same else contrast([old], [new]),
        verdict="unchanged" if same else "no evidence",
    )


def _judged(row: Row, judged: Contrast) -> Row:
    return row.model_copy(update={"contrast": judged, "verdict": judged.verdict})


def _value(entry: Entry, name: str) -> float | None:
    return entry.metrics[name].value if name in entry.metrics else None
