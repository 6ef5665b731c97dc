"""Text files to records: JSON lines, JSON lists and objects, TSV and CSV."""

import csv
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from harness.compact import Form, Raw, Record
from harness.errors import DataError
from harness.json_window import JsonWindow, brief, constant
from harness.reading import LONGEST, TOO_LONG, byte_lines, chunks, decoded
from harness.surrogates import HALF

LINE_END = 100
"""Bytes that show whether a line has no more than a bracket, blanks behind it included."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def text_form(path: Path) -> Form:
    """How a text file writes its records, by its name and, for JSON, by its first line."""
    kind = Path(path.name.lower().removesuffix(".gz")).suffix
    if kind in (".tsv", ".csv"):
        return Table(path, "\t" if kind == ".tsv" else ",")
    begin = b""
    for part in chunks(path):
        begin = (begin + part).lstrip()
        if len(begin) >= LINE_END:
            break
    if begin.partition(b"\n")[0].strip() == b"{":
        return JsonObject(path)
    return JsonList(path) if begin.startswith(b"[") else JsonLines(path)


class JsonLines(Form):
    """An object on each line."""

    def read(self) -> Iterator[Raw]:
        for number, line in enumerate(byte_lines(self.path), start=1):
            place = self.place(number)
            text = decoded(line, place)
            if not text.strip():
                continue
            try:
                fields = json.loads(text, parse_constant=constant)
            except ValueError as error:
                cut = "" if text.endswith("\n") else " The file seems to be cut off here."
                raise DataError(f"{place}: no valid JSON ({brief(error)}).{cut}") from None
            except RecursionError:
                raise DataError(f"{place}: no valid JSON (nested too deep).") from None
            yield Raw(
                number, line.strip() + b",", checked(place, fields, bool(SURROGATE.search(text)))
            )

    def parse(self, numbers: Sequence[int], contents: bytes) -> Iterator[Record]:
        return map(Record, map(self.place, numbers), _listed(contents))

    def place(self, number: int, content: bytes = b"") -> str:
        return f"{self.path.name} line {number}"


class _JsonWhole(Form):
    """A file that is one JSON value; its entries are read one after another."""

    ends: str
    """The marks around all entries."""

    def read(self) -> Iterator[Raw]:
        window = JsonWindow(self.path)
        window.skip(self.ends[0])
        number = 0
        while not window.ended(number, self.ends[1]):
            number += 1
            place, fields, text = self._entry(window, number)
            if len(text) > LONGEST:
                raise DataError(f"{place}: is {TOO_LONG}.")
            record = checked(place, fields, bool(SURROGATE.search(text)))
            yield Raw(number, text.encode() + b",", record)

    @abstractmethod
    def _entry(self, window: JsonWindow, number: int) -> tuple[str, Any, str]:
        """The place of the next entry, its value, and the text that is kept of it."""


class JsonList(_JsonWhole):
    """One list of objects."""

    ends = "[]"

    def _entry(self, window: JsonWindow, number: int) -> tuple[str, Any, str]:
        start = window.at
        return self.place(number), window.value(), window.text[start : window.at]

    def place(self, number: int, content: bytes = b"") -> str:
        return f"{self.path.name} entry {number}"

    def parse(self, numbers: Sequence[int], contents: bytes) -> Iterator[Record]:
        return map(Record, map(self.place, numbers), _listed(contents))


class JsonObject(_JsonWhole):
    """One object whose values are the records, and whose keys their ids; each is kept as a pair."""

    ends = "{}"

    def _entry(self, window: JsonWindow, number: int) -> tuple[str, Any, str]:
        key = window.key()
        start = window.at
        record = self._named(key, window.value())
        return *record, f"[{json.dumps(key)},{window.text[start : window.at]}]"

    def place(self, number: int, content: bytes) -> str:
        return next(self.parse([number], content)).place

    def parse(self, numbers: Sequence[int], contents: bytes) -> Iterator[Record]:
        return (Record(*self._named(*pair)) for pair in _listed(contents))

    def _named(self, key: str, fields: Any) -> tuple[str, Any]:
        own = {"id": key, **fields} if isinstance(fields, dict) else fields
        return f"{self.path.name} entry '{key}'", own


def _listed(contents: bytes) -> Any:
    """JSON values with a comma after each."""
    return json.loads(b"[%b]" % contents[:-1], parse_constant=constant)


def checked(place: str, fields: Any, escaped: bool) -> Record:
    """A record of a JSON value; raises `DataError` where it is not an object of whole characters.

    Args:
        escaped: whether its text has an escape of a surrogate: only that makes half a pair, which
            no file can be written with.
    """
    if not isinstance(fields, dict):
        raise DataError(f"{place}: not an object like {{...}} but a {type(fields).__name__}.")
    if escaped and (half := _half_pair(fields)):
        raise DataError(
            f"{place}: '\\u{ord(half):04x}' is half of a character (a surrogate): write the "
            "character itself, or both halves."
        )
    return Record(place, fields)


def _half_pair(value: Any) -> str | None:
    """The first lone surrogate in a JSON value."""
    found = HALF.search(json.dumps(value, ensure_ascii=False))
    return found and found[0]


class Table(Form):
    """TSV or CSV with a header, as pandas writes them; empty cells are None."""

    def __init__(self, path: Path, delimiter: str) -> None:
        super().__init__(path)
        self._delimiter = delimiter
        self._header: list[str] = []

    def read(self) -> Iterator[Raw]:
        csv.field_size_limit(LONGEST)
        taken: list[bytes] = []
        rows = self._rows(self._lines(taken))
        start = 1
        while True:
            place = self.place(start)
            taken.clear()
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                cut = (
                    " A quoted cell has no end: the file seems to be cut off."
                    if "unexpected end" in str(error)
                    else ""
                )
                raise DataError(f"{place}: no valid table ({error}).{cut}") from None
            here, start = start, start + len(taken)
            if not cells:
                continue
            if not self._header:
                self._header = _header(cells, place)
                continue
            if len(cells) != len(self._header):
                raise DataError(
                    f"{place}: has {len(cells)} cells, the header has {len(self._header)}."
                )
            yield Raw(here, b"".join(taken), self._record(here, cells))

    def parse(self, numbers: Sequence[int], contents: bytes) -> Iterator[Record]:
        lines = StringIO(contents.decode(), newline="\n")
        return map(self._record, numbers, filter(None, self._rows(lines)))

    def _rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _lines(self, taken: list[bytes]) -> Iterator[str]:
        for number, line in enumerate(byte_lines(self.path), start=1):
            taken.append(line)
            yield decoded(line, self.place(number))

    def _record(self, number: int, cells: list[str]) -> Record:
        fields = {name: cell or None for name, cell in zip(self._header, cells, strict=True)}
        return Record(self.place(number), fields)

    def place(self, number: int, content: bytes = b"") -> str:
        return f"{self.path.name} line {number}"


def _header(cells: list[str], place: str) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise DataError(f"{place}: column '{twice[0]}' stands twice in the header.")
    return cells
