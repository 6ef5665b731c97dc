"""One JSON list or object of a file of any length, read entry by entry."""

import json
import re
from codecs import getincrementaldecoder
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import DataError
from harness.reading import CHUNK, LONGEST, TOO_LONG, chunks

NEAR = 16
"""Characters of a JSON value at whose end it may only be cut off: `\\ud83d\\ude0`, `fals`."""
BLANK = re.compile(r"[ \t\r\n]*")
BETWEEN = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")


class JsonWindow:
    """The part of a file around the entry that is read; what is behind it is let go."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._chunks = chunks(path)
        self._decode = getincrementaldecoder("utf-8")().decode
        self._json = json.JSONDecoder(parse_constant=constant)
        self._before = 0
        self.text = ""
        self.at = 0

    def skip(self, mark: str) -> None:
        """Step over a mark and the blanks around it."""
        self._blank()
        if not self.text.startswith(mark, self.at):
            self._fail(f"Expecting '{mark}' delimiter")
        self.at += len(mark)
        self._blank()

    def ended(self, number: int, mark: str) -> bool:
        """Whether the value ends here, after `number` entries; else step to the next entry."""
        if self.at > CHUNK:
            self._before += self.text.count("\n", 0, self.at)
            self.text, self.at = self.text[self.at :], 0
        between = BETWEEN.match(self.text, self.at)
        if number and between and between.end() < len(self.text):
            self.at = between.end()
            return False
        self._blank()
        if self.text.startswith(mark, self.at):
            self.skip(mark)
            if self.at < len(self.text):
                self._fail("Extra data")
            return True
        if number:
            self.skip(",")
        return False

    def key(self) -> str:
        """The key here, with the mark behind it."""
        key = self.value()
        if not isinstance(key, str):
            self._fail("Expecting property name enclosed in double quotes")
        self.skip(":")
        return key

    def value(self) -> Any:
        """The JSON value here, all of it read."""
        while True:
            try:
                found, end = self._json.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = "Unterminated" in error.msg or error.pos > len(self.text) - NEAR
                if not (cut and self._more()):
                    self._fail(error.msg, error.pos)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self._name}: no valid JSON ({brief(error)}).") from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self.text) or not self._more():
                    self.at = end
                    return found

    def _blank(self) -> None:
        """Step over blanks."""
        while True:
            self.at = BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self._more():
                return

    def _more(self) -> bool:
        """Read on, as much again as is left; False at the end of the file."""
        left = len(self.text) - self.at
        if left > LONGEST:
            raise DataError(f"{self._name} line {self._line(self.at)}: an entry is {TOO_LONG}.")
        before = len(self.text)
        while len(self.text) - before <= left and (chunk := next(self._chunks, None)):
            try:
                self.text += self._decode(chunk)
            except UnicodeDecodeError as error:
                line = self._line(len(self.text)) + error.object.count(b"\n", 0, error.start)
                raise DataError(
                    f"{self._name} line {line}: no UTF-8, save the file as UTF-8."
                ) from None
        return len(self.text) > before

    def _line(self, position: int) -> int:
        return self._before + self.text.count("\n", 0, position) + 1

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        at = self.at if position is None else position
        cut = " The file seems to be cut off here." if at >= len(self.text.rstrip()) - 1 else ""
        place = f"{self._name} line {self._line(at)}"
        raise DataError(f"{place}: no valid JSON ({reason}).{cut}")


def constant(name: str) -> None:
    """NaN and infinities are missing values, as pandas means them."""


def brief(error: Exception) -> str:
    """What is wrong with a JSON text, without its position."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
