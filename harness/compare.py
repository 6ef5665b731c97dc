"""Two states of the leaderboards -> what became better or worse, tested item by item."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.across import two
from harness.boards import Boards, load
from harness.contrast import Contrast, Uncorrected, holm, uncorrected
from harness.errors import HarnessError, suggestion
from harness.kept import corpus_tests
from harness.pairing import Found, Key, Pair, Refused, Runs, each_seed, pair, question
from harness.schema import CorpusTest, Entry, Strict
from harness.summary import BASELINE, against, average, grouped

Corpus = Callable[[Entry, Entry], Mapping[str, CorpusTest]]
FAILURES = ("worse", "missing", "refused")
"""What `--fail-on` takes."""


class Row(Strict):
    """One question in both states, answered by a run or by the same seeds' runs."""

    task: str
    lab: bool
    method: str
    question: str
    """The place in the leaderboard, without the seed where seeds are pooled."""
    seeds: list[int | None]
    """Those that both states have."""
    primary: str
    higher_is_better: bool
    metrics: dict[str, tuple[float | None, float | None]]
    """All metrics of the task, before and after, averaged over seeds; absent ones are None."""
    contrast: Contrast | None
    """None where every item's score is as before."""
    verdict: Literal["better", "worse", "no evidence", "unchanged"]
    changed: dict[str, int] = {}
    """Fields that changed although the scores did not -> in how many entries."""
    corpus: dict[str, CorpusTest] = {}
    """Paired tests of corpus metrics, where the outputs of both sides are on disk; outside Holm's
    family."""


class Single(Strict):
    """A question that one state has and the other has not."""

    task: str
    lab: bool
    method: str
    question: str
    seeds: list[int | None]
    primary: str
    higher_is_better: bool
    value: float | None
    """The primary metric, averaged over seeds."""
    contrast: Contrast | None
    """Against the baseline of the same state; no part of Holm's family."""


class Refusal(Strict):
    """Entries that were not compared, and why."""

    task: str
    lab: bool
    method: str
    question: str
    seeds: list[int | None]
    reason: str


class Comparison(Strict):
    """What changed from `a` to `b`; differences are b - a.

    Holm's correction runs over the rows that have a contrast.
    """

    a: str
    b: str
    across: str | None = None
    """What the sides differ in, where they are not two states."""
    rows: list[Row] = []
    refused: list[Refusal] = []
    new: list[Single] = []
    vanished: list[Single] = []

    def failures(self) -> set[str]:
        """Which of `FAILURES` came about.

        Where nothing could be compared although there was something, that is `worse` too: a
        changed card must not turn a check green.
        """
        nothing = not self.rows and bool(self.refused or self.vanished)
        found = {
            "worse": nothing or any(row.verdict == "worse" for row in self.rows),
            "missing": bool(self.vanished),
            "refused": bool(self.refused),
        }
        return {name for name, holds in found.items() if holds}


def compare(
    a: str | Path,
    b: str | Path,
    leaderboards: Path = Path("leaderboards"),
    runs: Path = Path("runs"),
    tasks: Collection[str] = (),
    per_seed: bool = False,
    across: str | None = None,
) -> Comparison:
    """Compare two states, each a file, a folder of leaderboards or a git revision.

    Entries pair by task and by what was asked, those that differ in their seed alone together, and
    only where task card, items, split, limit and the like are equal; others are listed with the
    reason. Where every item's score is as before, the row is `unchanged` and not tested; Holm's
    correction runs over all others.

    Args:
        leaderboards: the folder that a revision is read in.
        runs: the folder where outputs may lie.
        tasks: those to compare; none: all.
        per_seed: compare every seed by itself.
        across: compare two models, methods, seeds, judges, or values of a setting or option, on
            the same items: `a` and `b` are values that the leaderboards know, or two states.
    """
    names = str(a), str(b)
    key: Key = each_seed if per_seed else question
    apart = frozenset[str]()
    if across is None:
        before, after = (load(side, leaderboards) for side in (a, b))
    else:
        before, after, key, apart = two(across, names, leaderboards)
    known = {task for side in (before, after) for _, task in side}
    for task in tasks:
        if task not in known:
            raise HarnessError(
                f"no result of a task '{task}' on either side. {suggestion(task, known)}".rstrip()
            )
    before, after = (_only(side, tasks) for side in (before, after))
    found = pair(before, after, names, key, apart)
    result = compared(found, after, names, lambda old, new: corpus_tests(old, new, runs), apart)
    return result.model_copy(update={"across": across})


def compare_boards(a: Boards, b: Boards, name_a: str = "a", name_b: str = "b") -> Comparison:
    """Compare leaderboards that are already read, without outputs."""
    return compared(pair(a, b, (name_a, name_b)), b, (name_a, name_b))


def compared(
    found: Iterable[Found],
    after: Boards,
    names: tuple[str, str],
    corpus: Corpus = lambda a, b: {},
    apart: Collection[str] = (),
) -> Comparison:
    """Test what was paired, a question at a time.

    Args:
        apart: fields of the task in which pairs may differ.
        after: the second state, for the baselines of what is new.
        corpus: gives tests of corpus metrics of two entries.
    """
    baselines = _Baselines(after)
    rows: list[tuple[Row, Uncorrected | None]] = []
    sides: tuple[list[Single], list[Single]] = ([], [])
    refused = []
    for each in found:
        if isinstance(each, Pair):
            rows += [_tested(part, corpus, apart) for part in _by_change(each)]
        elif isinstance(each, Refused):
            refused.append(Refusal(**_named(each), reason=each.reason))
        else:
            sides[each.side].append(_single(each, baselines))
    judged = iter(holm([test for _, test in rows if test is not None]))
    return Comparison(
        a=names[0],
        b=names[1],
        rows=[row if test is None else _with_verdict(row, next(judged)) for row, test in rows],
        refused=refused,
        vanished=sides[0],
        new=sides[1],
    )


def _tested(pair: Pair, corpus: Corpus, apart: Collection[str]) -> tuple[Row, Uncorrected | None]:
    """A row without its verdict, and its test where scores changed."""
    equal = _equal(pair)
    test = None if equal else uncorrected(pair.before, pair.after, apart)
    return _row(pair, equal, corpus), test


def _with_verdict(row: Row, contrast: Contrast) -> Row:
    return row.model_copy(update={"contrast": contrast, "verdict": contrast.verdict})


class _Baselines:
    """The baseline's results of a state, by task and model; read once."""

    def __init__(self, boards: Boards) -> None:
        self._boards = boards
        self._found: dict[tuple[bool, str], list[list[Entry]]] = {}

    def of(self, lab: bool, task: str) -> list[list[Entry]]:
        if (lab, task) not in self._found:
            board = self._boards.get((lab, task), {})
            places = [place for place in board if place.startswith(f"{BASELINE} ")]
            self._found[lab, task] = grouped((board[place] for place in places), BASELINE)
        return self._found[lab, task]


def _only(boards: Boards, tasks: Collection[str]) -> Boards:
    if not tasks:
        return boards
    return {where: board for where, board in boards.items() if where[1] in tasks}


def _by_change(pair: Pair) -> list[Pair]:
    """The seeds whose scores changed, and those whose scores did not, which say nothing of it."""
    if [entry.seed for entry in pair.before] != [entry.seed for entry in pair.after]:
        return [pair]
    both = list(zip(pair.before, pair.after, strict=True))
    parts = (
        [sides for sides in both if (sides[0].items == sides[1].items) == equal]
        for equal in (False, True)
    )
    return [
        pair._replace(before=[old for old, _ in part], after=[new for _, new in part])
        for part in parts
        if part
    ]


def _equal(pair: Pair) -> bool:
    """Whether every item's score is as before, in all runs; or the same in every run there is."""
    before, after = ([entry.items for entry in side] for side in (pair.before, pair.after))
    return before == after or all(each == before[0] for each in before + after)


def _row(pair: Pair, equal: bool, corpus: Corpus) -> Row:
    before, after = pair.before, pair.after
    names = dict.fromkeys(name for entry in (*before, *after) for name in entry.metrics)
    return Row(
        **_named(pair),
        primary=after[0].primary,
        higher_is_better=after[0].higher_is_better,
        metrics={name: (average(before, name), average(after, name)) for name in names},
        contrast=None,
        verdict="unchanged" if equal else "no evidence",
        changed=_changed(before, after) if equal else {},
        corpus=dict(corpus(before[0], after[0])) if not equal and len(after) == 1 else {},
    )


def _changed(before: Sequence[Entry], after: Sequence[Entry]) -> dict[str, int]:
    """Fields of the results that differ -> in how many entries."""
    found: Counter[str] = Counter()
    for old, new in zip(before, after, strict=False):
        if old is new:
            continue
        first, second = old.result(), new.result()
        found.update(name for name in second if first.get(name) != second[name])
    return dict(found)


def _single(runs: Runs, baselines: _Baselines) -> Single:
    first = runs.entries[0]
    new = runs.side == 1
    return Single(
        **_named(runs),
        primary=first.primary,
        higher_is_better=first.higher_is_better,
        value=average(runs.entries, first.primary),
        contrast=against(runs.entries, baselines.of(runs.lab, runs.task)) if new else None,
    )


def _named(found: Found) -> dict[str, Any]:
    """What rows of all kinds begin with."""
    entries = found.after if isinstance(found, Pair) else found.entries
    return {
        "task": found.task,
        "lab": found.lab,
        "method": entries[0].method,
        "question": found.question,
        "seeds": [entry.seed for entry in entries],
    }
