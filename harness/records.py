"""Data files to raw records: JSON, TSV, CSV, parquet, files of arrays. Each knows its place."""

import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from harness.compact import BLOCK, Compact, Lazy, MadeAgain
from harness.compact import Record as Record
from harness.errors import DataError, HarnessError, suggestion
from harness.reading import LONGEST, TOO_LONG, check_regular
from harness.text_records import text_form

ARRAYS = (".h5", ".hdf5", ".npz")
"""Files of arrays; `harness.arrays` reads them."""

TEXTS = (".jsonl", ".json", ".tsv", ".csv")
"""Files of text; with `.gz` after it they are unpacked."""

SUFFIXES = (*TEXTS, ".parquet", *ARRAYS)
"""What a data file's name ends with."""


def read_records(path: Path) -> Sequence[Record]:
    """All records of a data file; raises `DataError` beginning with file and line."""
    records = open_records(path)
    len(records)
    return records


def open_records(path: Path) -> Lazy:
    """The records of a data file, read as far as they are asked for, the first at once.

    What is wrong with a record is raised when it is first reached, with the whole file's length at
    the latest: `DataError` beginning with file and line.
    """
    suffix = kind_of(path)
    if suffix not in SUFFIXES:
        raise DataError(f"{path.name}: unknown kind of file, not one of {', '.join(SUFFIXES)}.")
    check_regular(path, path.name)
    try:
        records = _opened(path, suffix)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name}: cannot be read ({reason}).") from None
    records[0]
    return records


def _opened(path: Path, suffix: str) -> Lazy:
    if suffix in TEXTS:
        return Compact(text_form(path))
    if suffix == ".parquet":
        file = _Parquet(path)
        return MadeAgain(path.name, file.records(), file.rows)
    from harness.arrays import array_records, rows_again  # which import this module

    return MadeAgain(path.name, array_records(path), rows_again(path))


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


class _Parquet:
    """A parquet file's rows. Its groups stay in memory as arrow has them, a tenth of what their
    rows take as Python's objects; pictures stay in the file until they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._groups: list[Any] = []
        self._starts = [0]
        self._pictures = False

    def records(self) -> Iterator[Record]:
        """The rows in order, each checked."""
        parquet, failures = _pyarrow(self._path)
        try:
            with parquet.ParquetFile(self._path) as file:
                names = file.schema_arrow.names
                self._pictures = "image" in names
                columns = [name for name in names if name != "image"]
                for group in range(file.num_row_groups):
                    self._groups.append(file.read_row_group(group, columns))
                    count = file.metadata.row_group(group).num_rows
                    self._starts.append(self._starts[-1] + count)
                    for start in range(self._starts[-2], self._starts[-1], BLOCK):
                        for record in self.rows(start, min(start + BLOCK, self._starts[-1])):
                            check_cells(record.fields, record.place)
                            yield record
        except failures as error:
            raise _damaged(self._path, error) from None

    def rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows from one to another of the groups that were read."""
        while start < stop:
            group = bisect_right(self._starts, start) - 1
            first, end = self._starts[group], min(stop, self._starts[group + 1])
            rows = self._groups[group].slice(start - first, end - start).to_pylist()
            for index in range(start, end):
                fields = rows[index - start] if rows else {}
                if self._pictures:
                    fields["image"] = Embedded(self._path, "image", group, index - first)
                yield Record(f"{self._path.name} row {index + 1}", fields)
            start = end


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path.name}: cannot be read as parquet ({reason}).")


def check_cells(fields: Mapping[str, Any], place: str) -> None:
    """Raise `DataError` where a cell of a record is too long to be one."""
    for name, cell in fields.items():
        if isinstance(cell, str | bytes | list) and len(cell) > LONGEST:
            raise DataError(f"{place}: '{name}' is {TOO_LONG}.")


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
