"""Which rows are trained on: those that teach nothing or are too long are counted and named."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness import processes
from harness.errors import DataError
from harness.files import write_atomic
from harness.settings import TooLong

FILE = "left_out.jsonl"
"""Beside a checkpoint: a line for each row that was left out or cut, with its place."""
Did = Literal["left_out", "cut"]
SAID: Mapping[Did, str] = {"left_out": "left out", "cut": "cut"}
SAME_ANSWERS = "both answers are the same"
Place = Callable[[int], str]
"""Index of a row -> where it is, for messages."""

log = logging.getLogger("harness")


@dataclass
class Notes:
    """What was done to the rows of a training.

    Attributes:
        folder: of the fit.
        lines: of the file in it.
        said: messages that were logged; stages share them with the training that they are part of.
    """

    folder: Path
    lines: dict[str, None] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def add(self, what: str, problems: Sequence[str], did: Did = "left_out") -> None:
        """Log how many rows were left out or cut with the first of them, and keep them all.

        Args:
            what: kind of rows, such as `pairs`.
            problems: what is wrong with each row, beginning with its place.
        """
        if not problems:
            return
        message = f"{SAID[did]} {len(problems)} {what} to train on: {first(problems)}"
        if message not in self.said and processes.is_main():
            log.warning(message)
        self.said.add(message)
        self._keep(json.dumps({did: problem}, ensure_ascii=False) for problem in problems)

    def take(self, folder: Path) -> None:
        """Add what a stage that stands alone left out."""
        if (folder / FILE).exists():
            text = (folder / FILE).read_text(encoding="utf-8")
            self._keep(text.removesuffix("\n").split("\n"))

    def _keep(self, lines: Iterable[str]) -> None:
        self.lines |= dict.fromkeys(lines)
        if processes.is_main():
            write_atomic(self.folder / FILE, "".join(f"{line}\n" for line in self.lines))


def summary(folder: Path) -> list[str]:
    """Return how many rows a fit left out or cut with the first of them, a line for each."""
    if not (folder / FILE).exists():
        return []
    text = (folder / FILE).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    problems = {did: [row[did] for row in rows if did in row] for did in SAID}
    return [
        f"{SAID[did]} {len(some)} rows to train on: {first(some)}"
        for did, some in problems.items()
        if some
    ]


def first(problems: Sequence[str]) -> str:
    """Return the first of some problems, and how many more there are."""
    more = len(problems) - 1
    return f"{problems[0]} {more} more." if more else problems[0]


def by_length(
    notes: Notes, excess: Sequence[int], too_long: TooLong, place: Place, what: str = "rows"
) -> list[int]:
    """Return the indices of the rows to train on; those too long are refused, left out or cut.

    Args:
        excess: tokens of each row beyond those it may have, at most 0 where it fits.
        place: index -> where the row is.

    Raises:
        DataError: at the first row that is too long, where such rows are refused; where no row is
            left.
    """
    problems = {
        index: f"{place(index)}: {tokens} tokens too long."
        for index, tokens in enumerate(excess)
        if tokens > 0
    }
    if problems and too_long == "refuse":
        raise DataError(
            f"{first(list(problems.values()))} Set too_long=drop or too_long=cut of the training, "
            "or raise its length."
        )
    notes.add(what, list(problems.values()), "cut" if too_long == "cut" else "left_out")
    if too_long == "cut":
        return list(range(len(excess)))
    return _kept(problems, len(excess), what)


def by_difference(
    notes: Notes, same: Sequence[bool], place: Place, what: str = "pairs"
) -> list[int]:
    """Return the indices of the pairs whose answers differ; the others teach no preference.

    Args:
        same: whether the two answers of each pair are the same tokens.

    Raises:
        DataError: where no pair is left.
    """
    problems = {i: f"{place(i)}: {SAME_ANSWERS} tokens." for i, one in enumerate(same) if one}
    notes.add(what, list(problems.values()))
    return _kept(problems, len(same), what)


def _kept(problems: Mapping[int, str], count: int, what: str) -> list[int]:
    if problems and len(problems) == count:
        raise DataError(f"no {what} are left to train on: {first(list(problems.values()))}")
    return [index for index in range(count) if index not in problems]
