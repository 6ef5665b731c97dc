"""What a user can do wrong. Each message says what, where, and what to do, on one line."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.shown import shown


class HarnessError(Exception):
    """An error of the user: printed as one line, exit status 2, never a traceback."""


class DataError(HarnessError):
    """A file or a row that cannot be read; the message begins with its place."""


class PluginError(HarnessError):
    """A plugin that cannot be found or loaded."""


class NoResultError(HarnessError):
    """Results that would rest on nothing and were not recorded: one line, exit status 1."""

    def __init__(self, reasons: Sequence[str], entries: Sequence[Any] = ()) -> None:
        super().__init__(" ".join(reasons))
        self.entries = entries
        """What was recorded all the same."""


LONGEST = 600
"""Characters of a message on the terminal; of a longer one the middle is left out."""


def one_line(message: str) -> str:
    """Return a message as one printable line: control characters escaped, a long one shortened."""
    line = " ".join(message.split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 3 :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown(line))


def complaint(problem: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, a validator's own words as they are; no period."""
    return str(problem["msg"]).removeprefix("Value error, ").rstrip(".")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'mmbench'? ` for a near miss, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'? " if near else ""
