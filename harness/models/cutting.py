"""How what is too long for a model is cut: which part, how much, and that it is said."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence

from harness.processes import is_main

log = logging.getLogger(__name__)


def beginning(text: str, read: Callable[[str], Sequence[int]], most: int) -> str:
    """Return the longest beginning of a text that a model reads in at most so many tokens.

    Args:
        text: what is cut at its end.
        read: gives the tokens that the model reads for a text, whatever stands around it included.
        most: tokens; as many as `read` gives for no text, or more.
    """
    return text[: bisect_right(range(len(text) + 1), most, key=lambda n: len(read(text[:n]))) - 1]


def shares(source: int, target: int, room: int) -> tuple[int, int]:
    """Return how many tokens of a source and of its target stay, so that both fit into a room.

    Each may have half of it, and what the other does not need.
    """
    said = min(target, max(room - source, room // 2))
    return min(source, room - said), said


def report_cut(places: Sequence[str], part: str = "end") -> None:
    """Warn that texts lost a part, by where they come from."""
    if places and is_main():
        said = "%d texts are too long and lost their %s, the first: %s"
        log.warning(said, len(places), part, places[0])
