"""Which results of two states answer the same question: seeds together, the rest apart."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from harness.boards import Boards, same
from harness.contrast import unpairable
from harness.schema import Entry, canonical_json

Board = Mapping[str, Entry]
Key = Callable[[Board, str], tuple[str, str]]
"""What of an entry at a place pairs: its question, and the run (seed) that answered it."""
SEED = re.compile(r" (seed=\d+)$")


class Pair(NamedTuple):
    """The runs of one question on both sides; of the same seeds where they have some in common."""

    task: str
    lab: bool
    question: str
    before: list[Entry]
    after: list[Entry]


class Runs(NamedTuple):
    """Runs of one question that one side has and the other has not."""

    task: str
    lab: bool
    question: str
    entries: list[Entry]
    side: int
    """0: the first side's; 1: the second's."""


class Refused(NamedTuple):
    """Runs of a question that cannot be compared, and why."""

    task: str
    lab: bool
    question: str
    entries: list[Entry]
    reason: str


Found = Pair | Runs | Refused


def question(board: Board, place: str) -> tuple[str, str]:
    """A place without its seed, and its seed."""
    seed = SEED.search(place)
    return (place[: seed.start()], seed[1]) if seed else (place, "")


def each_seed(board: Board, place: str) -> tuple[str, str]:
    """The whole place: seeds are not put together."""
    return place, ""


def pair(
    a: Boards,
    b: Boards,
    names: tuple[str, str],
    key: Key = question,
    apart: Collection[str] = (),
) -> Iterator[Found]:
    """Pair the entries of two states by task and question, a question at a time.

    Seeds that both sides have are compared; those of one side alone are new or vanished. Where the
    sides share no seed, all runs of one stand against all of the other.

    Args:
        names: what the sides are called where one lacks an entry.
        key: what makes two entries the same question; `each_seed` compares seed by seed.
        apart: fields of the task in which pairs may differ, since that is what is compared.
    """
    for lab, task in sorted({*a, *b}):
        yield from _Task(task, lab, (a.get((lab, task), {}), b.get((lab, task), {})), names).pair(
            key, apart
        )


class _Task(NamedTuple):
    """Both sides' entries of a task."""

    task: str
    lab: bool
    boards: tuple[Board, Board]
    names: tuple[str, str]

    def pair(self, key: Key, apart: Collection[str]) -> Iterator[Found]:
        sides = [_questions(board, key) for board in self.boards]
        alone: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
        for name in sorted({*sides[0], *sides[1]}):
            old, new = (side.get(name, {}) for side in sides)
            several = [places for some in (old, new) for places in some.values() if len(places) > 1]
            if several:
                yield self._undecided(name, several)
                continue
            common = [run for run in old if run in new]
            if common or (old and new):
                yield from self._both(name, old, new, common, apart)
            for side, (runs, other) in enumerate(((old, new), (new, old))):
                rest = [place for run, (place,) in runs.items() if run not in other]
                if rest and (common or not other):
                    alone[side][name] = rest
        yield from self._one_sided(alone)

    def _both(
        self,
        name: str,
        old: Mapping[str, list[str]],
        new: Mapping[str, list[str]],
        common: list[str],
        apart: Collection[str],
    ) -> Iterator[Found]:
        """Pair the common runs, or else all of one side with all of the other."""
        if not common:
            before, after = (
                [board[place] for (place,) in runs.values()]
                for board, runs in zip(self.boards, (old, new), strict=True)
            )
            reason = next(
                filter(None, (unpairable(before[0], each, apart) for each in after)), None
            )
            fitting = [] if reason else [(before, after)]
            reasons = {reason: after} if reason else {}
        else:
            fitting, reasons = [], {}
            for run in common:
                (first,), (second,) = old[run], new[run]
                after_one = self.boards[1][second]
                before_one = after_one if self._same(first, second) else self.boards[0][first]
                reason = unpairable(before_one, after_one, apart)
                if reason is None:
                    fitting.append(([before_one], [after_one]))
                else:
                    reasons.setdefault(reason, []).append(after_one)
        if fitting:
            before, after = ([entry for part in fitting for entry in part[i]] for i in (0, 1))
            yield Pair(self.task, self.lab, name, before, after)
        for reason, entries in reasons.items():
            yield Refused(self.task, self.lab, name, entries, reason)

    def _same(self, first: str, second: str) -> bool:
        return first == second and same(*self.boards, first)

    def _undecided(self, name: str, several: list[list[str]]) -> Refused:
        places = [place for some in several for place in some]
        entries = [
            board[place]
            for board in self.boards
            for place in dict.fromkeys(places)
            if place in board
        ]
        reason = f"several results of one side: {', '.join(dict.fromkeys(places))}"
        return Refused(self.task, self.lab, name, entries, reason)

    def _one_sided(self, alone: tuple[dict[str, list[str]], ...]) -> Iterator[Found]:
        """Runs of one side; those that the other has with another split or limit are refused."""
        # By method and model first, read from the places: most have nothing of the kind.
        near = [{_words(place) for places in some.values() for place in places} for some in alone]
        asked = [
            {
                _asked(board[places[0]]): places[0]
                for places in some.values()
                if _words(places[0]) in other
            }
            for board, some, other in zip(self.boards, alone, near[::-1], strict=True)
        ]
        for side, some in enumerate(alone):
            for name, places in some.items():
                entries = [self.boards[side][place] for place in places]
                other = (
                    asked[1 - side].get(_asked(entries[0]))
                    if _words(places[0]) in near[1 - side]
                    else None
                )
                if other is None:
                    yield Runs(self.task, self.lab, name, entries, side)
                    continue
                pair = (entries[0], self.boards[1 - side][other])
                reason = (
                    f"only in {self.names[side]}; {unpairable(*(pair[::-1] if side else pair))}"
                )
                yield Refused(self.task, self.lab, name, entries, reason)


def _questions(board: Board, key: Key) -> dict[str, dict[str, list[str]]]:
    """Question -> run -> its places: one, unless the key leaves something open."""
    found: dict[str, dict[str, list[str]]] = {}
    for place in board:
        name, run = key(board, place)
        found.setdefault(name, {}).setdefault(run, []).append(place)
    return found


def _words(place: str) -> tuple[str, ...]:
    return tuple(place.split(" ", 2)[:2])


def _asked(entry: Entry) -> str:
    """What a place names, but for split and limit."""
    model = entry.model.name
    return canonical_json([entry.method, model, entry.dataset, entry.overrides, entry.seed])
