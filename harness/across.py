"""Two of anything on the same items: models, methods, seeds, judges, or values of a setting."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.boards import Boards, load
from harness.errors import HarnessError, suggestion
from harness.pairing import Key
from harness.schema import Entry, canonical_json

KINDS = ("model", "method", "dataset", "seed", "judge")
"""What sides may differ in, beside settings and options by their names."""
UNSET = "default"
"""The value of a setting or option that was not changed."""


class Across(NamedTuple):
    """What two sides differ in: its values, and what of an entry is the same on both."""

    value: Callable[[Entry], str]
    key: Key
    apart: frozenset[str]
    """Fields of the task that differ with it."""


def across(kind: str, boards: Boards) -> Across:
    """How entries are paired that differ in a kind, or in a setting or option of that name.

    Where the boards know an option of that name, the hash of the card may differ with it.
    """
    if kind == "judge":
        return Across(
            _judge, _key(lambda part: part.startswith("option judge.")), frozenset({kind})
        )
    if kind in KINDS:
        # A method brings its dataset: the base model as it is has none.
        dropped = {kind, "dataset"} if kind == "method" else {kind}
        value = {"model": lambda entry: entry.model.name, "seed": lambda entry: str(entry.seed)}
        get = value.get(kind, lambda entry: str(getattr(entry, kind)))
        return Across(get, _key(dropped.__contains__), frozenset())
    names = {f"setting {kind}", f"option {kind}"}

    def setting(entry: Entry) -> str:
        known = {**entry.overrides, **entry.task.options}
        return _text(known[kind]) if kind in known else UNSET

    every = (entry for board in boards.values() for entry in board.values())
    option = any(kind in entry.task.options for entry in every)
    return Across(setting, _key(names.__contains__), frozenset({"card"} if option else ()))


def two(
    kind: str, names: tuple[str, str], leaderboards: Path
) -> tuple[Boards, Boards, Key, frozenset[str]]:
    """Two sides that differ in a kind, and how their entries pair.

    Args:
        names: of each side, a value that the leaderboards know, or else a state.
    """
    boards = load(leaderboards) if leaderboards.is_dir() else {}
    found = across(kind, boards)
    known = known_values(boards, found)
    sides = [
        _having(boards, found, name) if name in known else _state(name, kind, known, leaderboards)
        for name in names
    ]
    # Most results have another's setting unset: those without a partner are of no interest.
    for own, other, name in ((0, 1, names[0]), (1, 0, names[1])):
        if name == UNSET:
            sides[own] = _asked_by(sides[own], sides[other], found.key)
    return sides[0], sides[1], found.key, found.apart


def _asked_by(boards: Boards, others: Boards, key: Key) -> Boards:
    """The entries whose question the others answer too, with the same seed."""
    asked = {(where, key(board, place)) for where, board in others.items() for place in board}
    return {
        where: {place: board[place] for place in board if (where, key(board, place)) in asked}
        for where, board in boards.items()
    }


def known_values(boards: Boards, kind: Across) -> list[str]:
    """The values that entries have, in order."""
    return sorted({kind.value(entry) for board in boards.values() for entry in board.values()})


def _having(boards: Boards, kind: Across, value: str) -> Boards:
    """The entries that have a value, whatever else they have."""
    return {
        where: {place: entry for place, entry in board.items() if kind.value(entry) == value}
        for where, board in boards.items()
    }


def _state(name: str, kind: str, known: Sequence[str], leaderboards: Path) -> Boards:
    try:
        return load(name, leaderboards)
    except HarnessError as error:
        if known in ([], [UNSET]):
            raise HarnessError(
                f"--across {kind}: no result in {leaderboards} says its {kind}, and {error}"
            ) from None
        some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        raise HarnessError(
            f"--across {kind}: no result in {leaderboards} has the {kind} '{name}'. "
            f"{suggestion(name, known)} There are: {some}."
        ) from None


def _key(dropped: Callable[[str], bool]) -> Key:
    def key(board: Mapping[str, Entry], place: str) -> tuple[str, str]:
        asked = board[place].asked()
        parts = {name: part for name, part in asked.items() if not dropped(name)}
        seed = parts.pop("seed", "")
        return " ".join(parts.values()), seed

    return key


def _judge(entry: Entry) -> str:
    """A judge's name, then its model and what else it is known by."""
    judge = entry.task.judge
    rest = (judge[key] for key in sorted(judge) if key != "name")
    return " ".join(value for value in (judge.get("name", ""), *rest) if value)


def _text(value: object) -> str:
    """A setting's value as the command line says it."""
    return value if isinstance(value, str) else canonical_json(value)
