"""The canonical text of a leaderboard, entry by entry, without reading all of it.

`leaderboard.dump` writes entries by sorted place, each beginning on a line of its own, four blanks
in. So an entry is found by bisection and replaced by splicing: what recording costs does not grow
with what a leaderboard holds, but for copying bytes. A text of another form has no `BoardText`;
`leaderboard.parse` reads those as a whole.
"""

import json
import mmap
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BEGIN = b'\n    "'
"""What an entry begins with: deeper lines have more blanks, and a JSON text has no line breaks."""
KEY = re.compile(rb'\n    ("(?:[^"\\\n]|\\.)*"): (?=\{\n)')
MARKER = b"\n<<<<<<<"
"""A line of a text with merge conflicts."""


class Slice(NamedTuple):
    """Where an entry stands, its place before it included, or where it would."""

    start: int
    end: int
    found: bool


class BoardText:
    """A leaderboard's text in canonical form; raises `ValueError` for any other.

    Args:
        data: all of it.
        head, tail: what canonical text of this board has before its first entry and after its
            last.
    """

    def __init__(self, data: bytes | mmap.mmap, head: bytes, tail: bytes) -> None:
        self.data = data
        self.start, self.end = len(head), len(data) - len(tail)
        whole = self.start < self.end and data[: self.start] == head and data[self.end :] == tail
        # One byte is looked for ten times as fast as the marker; seldom is there one.
        conflict = data.find(MARKER[1:2]) >= 0 and data.find(MARKER) >= 0
        if not whole or not KEY.match(data, self.start - 1) or conflict:
            raise ValueError("not the canonical text of this leaderboard")

    def find(self, place: str) -> Slice:
        """Where the entry of a place stands, or where it would, by bisection.

        Raises `ValueError` where the text turns out not to be canonical.
        """
        low, high = self.start, self.end
        while low < high:
            middle = self.data.rfind(BEGIN, self.start - 1, (low + high) // 2 + len(BEGIN)) + 1
            key, after = self._key(middle), self._next(middle)
            if key == place:
                return Slice(middle, after if after == self.end else after - 2, True)
            if key < place:
                low = after
            else:
                high = middle
        return Slice(low, low, False)

    def entry(self, found: Slice) -> bytes:
        """The JSON text of an entry that was found."""
        match = KEY.match(self.data, found.start - 1)
        return bytes(self.data[match.end() if match else found.start : found.end])

    def spliced(self, found: Slice, text: bytes) -> list[memoryview | bytes]:
        """The whole text, in parts, with an entry in its place: replaced or added."""
        view = memoryview(self.data)
        before, after = view[: found.start], view[found.end :]
        if found.found:
            return [before, text, after]
        if found.start == self.end:
            return [before, b",\n", text, after]
        return [before, text, b",\n", after]

    def entries(self) -> Iterator[tuple[str, Slice]]:
        """Every place with its entry, in order; raises `ValueError` unless places are sorted."""
        starts = [match.start() + 1 for match in KEY.finditer(self.data, self.start - 1, self.end)]
        last = None
        for start, after in zip(starts, [*starts[1:], self.end + 2], strict=True):
            place = self._key(start)
            if last is not None and place <= last:
                raise ValueError("places are not in order")
            last = place
            yield place, Slice(start, after - 2, True)

    def _key(self, start: int) -> str:
        match = KEY.match(self.data, start - 1)
        if match is None:
            raise ValueError("an entry does not begin with its place")
        key: str = json.loads(match[1])
        return key

    def _next(self, start: int) -> int:
        """Where the entry after begins; the end after the last."""
        found = self.data.find(BEGIN, start, self.end)
        return self.end if found < 0 else found + 1


def lines(value: Any, indent: str) -> Iterator[str]:
    """JSON text with sorted keys; a container of bare numbers and nulls stays on one line."""
    if not isinstance(value, dict | list):
        yield json_line(value)
        return
    parts = list(value.values()) if isinstance(value, dict) else value
    if all(part is None or isinstance(part, bool | int | float) for part in parts):
        yield json_line(value)
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = indent + "  "
    yield opening
    rows = sorted(value.items()) if isinstance(value, dict) else [(None, part) for part in value]
    for position, (key, part) in enumerate(rows):
        yield f"{',' if position else ''}\n{inner}"
        if key is not None:
            yield f"{json_line(key)}: "
        yield from lines(part, inner)
    yield f"\n{indent}{closing}"


def json_line(value: Any) -> str:
    """A value on one line, keys sorted."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
