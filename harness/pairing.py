"""Which entries of two states answer the same question: seeds together, the rest apart."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from harness.contrast import unpairable
from harness.schema import Entry, canonical_json

Boards = Mapping[tuple[bool, str], Mapping[str, Entry]]
"""(lab, task) -> place -> entry."""
Key = Callable[[Entry], tuple[str, str]]
"""What of an entry pairs: its question, and the run (seed) that answered it."""


class Runs(NamedTuple):
    """Runs of one question that one side has."""

    task: str
    lab: bool
    question: str
    entries: list[Entry]


class Pair(NamedTuple):
    """The runs of one question on both sides; of the same seeds where they have some in common."""

    task: str
    lab: bool
    question: str
    before: list[Entry]
    after: list[Entry]


class Refused(NamedTuple):
    """Runs that cannot be compared, and why."""

    runs: Runs
    reason: str


class Paired(NamedTuple):
    """Two states, question by question."""

    pairs: list[Pair]
    refused: list[Refused]
    vanished: list[Runs]
    new: list[Runs]


def question(entry: Entry) -> tuple[str, str]:
    """An entry's place without its seed, and its seed."""
    parts = entry.asked()
    seed = parts.pop("seed", "")
    return " ".join(parts.values()), seed


def each_seed(entry: Entry) -> tuple[str, str]:
    """The whole place: seeds are not put together."""
    return entry.place, ""


def pair(
    a: Boards,
    b: Boards,
    names: tuple[str, str],
    key: Key = question,
    apart: Collection[str] = (),
) -> Paired:
    """Pair the entries of two states by task and question.

    Seeds that both sides have are compared; those of one side alone are new or vanished. Where the
    sides share no seed, all runs of one stand against all of the other.

    Args:
        names: what the sides are called where one lacks an entry.
        key: what makes two entries the same question; `each_seed` compares seed by seed.
        apart: fields of the task in which pairs may differ, since that is what is compared.
    """
    found = Paired([], [], [], [])
    for lab, task in sorted({*a, *b}):
        old, new = (_questions(side.get((lab, task), {}), key) for side in (a, b))
        for name in sorted({*old, *new}):
            before, after = old.get(name, {}), new.get(name, {})
            _pair_runs(found, (task, lab, name), before, after, apart)
    return _explained(found, names)


def _questions(board: Mapping[str, Entry], key: Key) -> dict[str, dict[str, list[Entry]]]:
    """Question -> run -> its entries: one, unless the key leaves something open."""
    found: dict[str, dict[str, list[Entry]]] = {}
    for entry in board.values():
        name, run = key(entry)
        found.setdefault(name, {}).setdefault(run, []).append(entry)
    return found


def _pair_runs(
    found: Paired,
    where: tuple[str, bool, str],
    before: Mapping[str, list[Entry]],
    after: Mapping[str, list[Entry]],
    apart: Collection[str],
) -> None:
    open_left = [some for side in (before, after) for some in side.values() if len(some) > 1]
    if open_left:
        entries = [entry for some in open_left for entry in some]
        reason = f"several results of one side: {', '.join(entry.place for entry in entries)}"
        found.refused.append(Refused(Runs(*where, entries), reason))
        return
    old, new = ({run: some[0] for run, some in side.items()} for side in (before, after))
    common = old.keys() & new.keys()
    if old and new and not common:
        sides = (list(old.values()), list(new.values()))
        reasons = {unpairable(sides[0][0], entry, apart) for entry in sides[1]}
        _sort_out(found, where, [(sides, next(iter(reasons - {None}), None))])
        return
    _sort_out(
        found,
        where,
        [
            (([old[run]], [new[run]]), unpairable(old[run], new[run], apart))
            for run in old
            if run in common
        ],
    )
    for side, runs in ((found.vanished, old), (found.new, new)):
        rest = [entry for run, entry in runs.items() if run not in common]
        if rest:
            side.append(Runs(*where, rest))


def _sort_out(
    found: Paired,
    where: tuple[str, bool, str],
    checked: Sequence[tuple[tuple[list[Entry], list[Entry]], str | None]],
) -> None:
    """Put runs of both sides into one pair, those with a reason against it apart by reason."""
    fitting = [sides for sides, reason in checked if reason is None]
    if fitting:
        before, after = ([entry for sides in fitting for entry in sides[i]] for i in (0, 1))
        found.pairs.append(Pair(*where, before, after))
    for reason in dict.fromkeys(reason for _, reason in checked if reason is not None):
        entries = [entry for sides, why in checked if why == reason for entry in sides[1]]
        found.refused.append(Refused(Runs(*where, entries), reason))


def _explained(found: Paired, names: tuple[str, str]) -> Paired:
    """Runs of one side whose question the other has with another split or limit are refused."""
    # By what was asked: the first of each question's runs.
    indexed = [
        {(runs.lab, runs.task, _asked(runs.entries[0])): runs.entries[0] for runs in side}
        for side in (found.vanished, found.new)
    ]
    refused = list(found.refused)
    rest: tuple[list[Runs], list[Runs]] = ([], [])
    for position, side in enumerate((found.vanished, found.new)):
        for runs in side:
            entry = runs.entries[0]
            other = indexed[1 - position].get((runs.lab, runs.task, _asked(entry)))
            if other is None:
                rest[position].append(runs)
            else:
                sides = (other, entry) if position else (entry, other)
                reason = f"only in {names[position]}; {unpairable(*sides)}"
                refused.append(Refused(runs, reason))
    return Paired(found.pairs, refused, *rest)


def _asked(entry: Entry) -> str:
    """What a place names, but for split and limit."""
    model = entry.model.name
    return canonical_json([entry.method, model, entry.dataset, entry.overrides, entry.seed])
