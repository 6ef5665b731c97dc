"""Data files to raw records: JSON, TSV, CSV, parquet, files of arrays. Each knows its place."""

import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import DataError, HarnessError, suggestion
from harness.surrogates import HALF

ARRAYS = (".h5", ".hdf5", ".npz")
"""Files of arrays; `harness.arrays` reads them."""

TEXTS = (".jsonl", ".json", ".tsv", ".csv")
"""Files of text; with `.gz` after it they are unpacked."""

SUFFIXES = (*TEXTS, ".parquet", *ARRAYS)
"""What a data file's name ends with."""

CELL_LIMIT = 2**31 - 1
"""Longest cell of a table, in characters: pictures in base64 are long."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Record(NamedTuple):
    """A raw record and where it stands: `pairs.jsonl line 41`."""

    place: str
    fields: dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """All records of a data file; raises `DataError` beginning with file and line."""
    try:
        records = list(_reader(path)(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name}: cannot be read ({reason}).") from None
    if not records:
        raise DataError(f"{path.name}: is empty, it has no record.")
    return records


def _reader(path: Path) -> Callable[[Path], Iterator[Record]]:
    suffix = kind_of(path)
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name}: unknown kind of file, not one of {', '.join(SUFFIXES)}.")
    if suffix in ARRAYS:
        from harness.arrays import array_records  # which imports this module

        return array_records
    if suffix == ".parquet":
        return _parquet
    return _json if suffix in (".jsonl", ".json") else _table


def kind_of(path: Path) -> str:
    """The ending that says what a data file is: `.jsonl`, also of `items.jsonl.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def require(row: Mapping[str, Any], place: str, *names: str) -> Any:
    """The value under the first of `names` that a row has.

    Raises `DataError` beginning with `place`, with the near name where it looks mistyped.
    """
    for name in names:
        if not is_missing(row.get(name)):
            return row[name]
    wanted = " or ".join(f"'{name}'" for name in names)
    present = next((name for name in names if name in row), None)
    if present is not None:
        raise DataError(f"{place}: '{present}' is empty.")
    columns = ", ".join(map(str, row))
    near = next(filter(None, (suggestion(name, map(str, row)) for name in names)), "")
    raise DataError(f"{place}: there is no {wanted}. {near}It has: {columns}.")


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: absent, NaN, blank, or the text `nan` that pandas writes."""
    if isinstance(value, str):
        return value.strip() in ("", "nan")
    return value is None or (isinstance(value, float) and value != value)


def _lines(path: Path) -> Iterator[str]:
    """Decoded lines with their line ends."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(UTF16):
                raise DataError(f"{path.name} line 1: the file is UTF-16, save it as UTF-8.")
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path.name} line {number}: no UTF-8 (byte {error.start + 1} of the line), "
                    "save the file as UTF-8."
                ) from None


def _json(path: Path) -> Iterator[Record]:
    """JSON lines, one JSON array or one JSON object of records, whatever the file is called."""
    first = next((line for line in _lines(path) if line.strip()), "")
    if first.strip() == "{":
        return _json_whole(path)
    return _json_whole(path) if first.lstrip().startswith("[") else _json_lines(path)


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path.name} line {number}"
        try:
            fields = json.loads(line, parse_constant=_constant)
        except ValueError as error:
            cut = "" if line.endswith("\n") else " The file seems to be cut off here."
            raise DataError(f"{place}: no valid JSON ({_brief(error)}).{cut}") from None
        except RecursionError:
            raise DataError(f"{place}: no valid JSON (nested too deep).") from None
        yield _record(place, fields, bool(SURROGATE.search(line)))


def _json_whole(path: Path) -> Iterator[Record]:
    text = "".join(_lines(path))
    try:
        entries = json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        cut = " The file seems to be cut off here." if error.pos >= len(text.rstrip()) - 1 else ""
        place = f"{path.name} line {error.lineno}"
        raise DataError(f"{place}: no valid JSON ({_brief(error)}).{cut}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: no valid JSON ({_brief(error)}).") from None
    escaped = bool(SURROGATE.search(text))
    if isinstance(entries, dict):
        for key, fields in entries.items():
            place = f"{path.name} entry '{key}'"
            yield _record(
                place, {"id": key, **fields} if isinstance(fields, dict) else fields, escaped
            )
        return
    for number, fields in enumerate(entries, start=1):
        yield _record(f"{path.name} entry {number}", fields, escaped)


def _record(place: str, fields: Any, escaped: bool) -> Record:
    if not isinstance(fields, dict):
        raise DataError(f"{place}: not an object like {{...}} but a {type(fields).__name__}.")
    # Only an escape makes half a surrogate pair, which no file can be written with.
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


def _constant(name: str) -> None:
    """NaN and infinities are missing values, as pandas means them."""


def _brief(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _table(path: Path) -> Iterator[Record]:
    """TSV or CSV with a header, as pandas writes them; empty cells are None."""
    csv.field_size_limit(CELL_LIMIT)
    delimiter = "\t" if kind_of(path) == ".tsv" else ","
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        place = f"{path.name} line {start}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cut = (
                " A quoted cell has no end: the file seems to be cut off."
                if "unexpected end" in str(error)
                else ""
            )
            raise DataError(f"{place}: no valid table ({error}).{cut}") from None
        start = reader.line_num + 1
        if not cells:
            continue
        if header is None:
            header = _header(cells, place)
            continue
        if len(cells) != len(header):
            raise DataError(f"{place}: has {len(cells)} cells, the header has {len(header)}.")
        fields = {name: cell or None for name, cell in zip(header, cells, strict=True)}
        yield Record(place, fields)


def _header(cells: list[str], place: str) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise DataError(f"{place}: column '{twice[0]}' stands twice in the header.")
    return cells


class Embedded(NamedTuple):
    """A picture inside a parquet file, not read yet."""

    path: Path
    column: str
    group: int
    row: int

    def read(self) -> Any:
        """The cell: bytes, or the hub's {bytes, path}; raises `DataError` for a damaged one."""
        _, failures = _pyarrow(self.path)
        try:
            return _cells(self.path, self.column, self.group)[self.row].as_py()
        except failures as error:
            raise _damaged(self.path, error) from None


def _parquet(path: Path) -> Iterator[Record]:
    """Rows whose pictures stay in the file until they are read."""
    parquet, failures = _pyarrow(path)
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [name for name in names if name != "image"]
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns).to_pylist() if columns else []
                for position in range(file.metadata.row_group(group).num_rows):
                    number += 1
                    fields = rows[position] if columns else {}
                    if "image" in names:
                        fields["image"] = Embedded(path, "image", group, position)
                    yield Record(f"{path.name} row {number}", fields)
    except failures as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path.name}: cannot be read as parquet ({reason}).")


@lru_cache(maxsize=2)
def _cells(path: Path, column: str, group: int) -> Any:
    parquet, _ = _pyarrow(path)
    with parquet.ParquetFile(path) as file:
        return file.read_row_group(group, [column]).column(0)


def _pyarrow(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    """The reader, and what it raises for files that are damaged."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise HarnessError(
            f"{path.name}: parquet needs pyarrow: pip install 'harness[hub]'."
        ) from None
    kinds = (pyarrow.ArrowException, OSError, ValueError, IndexError, KeyError, OverflowError)
    return pyarrow.parquet, kinds


def require_text(row: Mapping[str, Any], place: str, *names: str) -> str:
    """The same as a text, a number's too; raises `DataError` where it is a list or a mapping."""
    found = require(row, place, *names)
    if isinstance(found, list | dict):
        name = next(each for each in names if row.get(each) is found)
        raise DataError(f"{place}: '{name}' is no text (got {found!r:.60}).")
    return str(found)


def nearest_file(path: Path) -> str:
    """`Did you mean ...?` among the data files beside a path that does not exist."""
    folder = path.parent
    beside: Sequence[Path] = sorted(folder.iterdir()) if os.path.isdir(folder) else []
    return suggestion(path.name, [p.name for p in beside if p.is_dir() or kind_of(p) in SUFFIXES])
