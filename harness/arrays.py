"""Files of arrays to records: HDF5 and npz. A row is an entry of every array's first dimension."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, HarnessError
from harness.models.pictures import StoredPicture
from harness.reading import LONGEST, TOO_LONG
from harness.records import Record, kind_of

BLOCK = 4096
"""Rows whose cells are read at once."""

CODE_NAMES = "class_names"
"""An array that says what codes mean, and is no column."""

CHUNK_CACHE = 2**26
"""Bytes that HDF5 keeps of an array that is stored in compressed chunks: many pictures in each."""

PACKED = 200
"""Times that an array of a zip file may have its packed size, where it is long."""

DAMAGED = (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What readers of arrays raise for files that are cut off or damaged."""


def array_records(path: Path) -> Iterator[Record]:
    """The rows of a file of arrays; its pictures stay in the file until they are opened.

    An array of bytes [rows, height, width] or [rows, height, width, 1 or 3] holds pictures. Other
    arrays are [rows], [rows, 1], or [rows, values] with a list in each row; byte strings are text.

    Raises:
        DataError: where the file is damaged, or its arrays are no rows.
    """
    try:
        arrays = _opened(path)
        _check(path, arrays)
        total = len(next(iter(arrays.values())))
        for start in range(0, total, BLOCK):
            yield from rows_of(path, start, min(start + BLOCK, total))
    except DAMAGED as error:
        raise _damaged(path, error) from None


def rows_again(path: Path) -> Callable[[int, int], Iterator[Record]]:
    """Gives the rows from one to another; raises `DataError` where the file is no longer the one
    that it was: rows of another file would not be those that were checked."""

    def now() -> tuple[int, int, int]:
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    try:
        first = now()
    except OSError as error:
        raise _damaged(path, error) from None

    def rows(start: int, stop: int) -> Iterator[Record]:
        try:
            same = now() == first
        except OSError:
            same = False
        if not same:
            raise DataError(f"{path.name}: was replaced or changed while it was used: start again.")
        return rows_of(path, start, stop)

    return rows


def rows_of(path: Path, start: int, stop: int) -> Iterator[Record]:
    """The rows from one to another; raises `DataError` where the file is damaged."""
    try:
        arrays = _opened(path)
        columns = {name: array for name, array in arrays.items() if not _holds_pictures(array)}
        pictures = arrays.keys() - columns.keys()
        some = {name: _column(array[start:stop]) for name, array in columns.items()}
    except DAMAGED as error:
        raise _damaged(path, error) from None
    for index in range(start, stop):
        place = f"{path.name} row {index + 1}"
        stored = {
            name: StoredPicture(place, partial(_pixels, path, name, index)) for name in pictures
        }
        cells = {name: values[index - start] for name, values in some.items()}
        yield Record(place, cells | stored)


def _check(path: Path, arrays: Mapping[str, Any]) -> None:
    """Raise `DataError` where a file's arrays are not the columns of one table."""
    if not arrays:
        raise DataError(f"{path.name}: has no array.")
    first = next(iter(arrays))
    for name, array in arrays.items():
        if not hasattr(array, "shape"):
            raise DataError(
                f"{path.name}: '{name}' is a group: put its arrays at the top of a file of their "
                "own."
            )
        if not array.shape:
            raise DataError(f"{path.name}: '{name}' is one value, not an array with one a row.")
        if len(array) != len(arrays[first]):
            raise DataError(
                f"{path.name}: '{first}' has {len(arrays[first])} entries and '{name}' "
                f"{len(array)}: all arrays must be of one length."
            )
        if prod(array.shape[1:]) * array.dtype.itemsize > LONGEST:
            raise DataError(f"{path.name}: an entry of '{name}' is {TOO_LONG}.")
        if array.ndim > 2 and not _holds_pictures(array):
            shape = " x ".join(map(str, array.shape[1:]))
            raise DataError(
                f"{path.name}: an entry of '{name}' is {shape} of {array.dtype}: a picture is "
                "uint8, height x width (x 3)."
            )


def _holds_pictures(array: Any) -> bool:
    return (
        array.dtype == np.uint8
        and array.ndim in (3, 4)
        and 0 not in array.shape[1:]
        and array.shape[3:] in ((), (1,), (3,))
    )


def _column(values: NDArray[Any]) -> list[Any]:
    """The cells of a part of an array, as JSON has them."""
    if values.dtype.kind not in "biuf":
        return [_cell(value) for value in values]
    single = values.ndim > 1 and prod(values.shape[1:]) == 1
    cells: list[Any] = (values.reshape(-1) if single else values).tolist()
    return cells


def _cell(value: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(value, np.ndarray):
        return _cell(value.flat[0]) if value.size == 1 else [_cell(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            # HDF5 does not say what its bytes mean: older data sets are in ISO 8859-1.
            return value.decode("latin-1")
    return value


def _pixels(path: Path, name: str, row: int) -> NDArray[np.uint8]:
    """A picture's pixels, [height, width] or [height, width, 3]."""
    found: NDArray[np.uint8] = _opened(path)[name][row]
    return found[:, :, 0] if found.shape[2:] == (1,) else found


def _opened(path: Path) -> Mapping[str, Any]:
    return _arrays(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _arrays(path: Path, _: int) -> Mapping[str, Any]:
    """Name -> what has `shape`, `dtype` and slices; HDF5's stay on the disk."""
    if kind_of(path) == ".npz":
        return _npz(path)
    try:
        import h5py
    except ImportError:
        raise HarnessError(f"{path.name}: HDF5 needs h5py: pip install 'harness[hdf5]'.") from None
    opened = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE)
    return {name: opened[name] for name in opened if name != CODE_NAMES}


def _npz(path: Path) -> Mapping[str, NDArray[Any]]:
    _check_packing(path)
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
        raise ValueError("one array without a name")
    with file:
        found = {name: file[name] for name in file.files if name != CODE_NAMES}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"'{name}' is no array")
    return found


def _check_packing(path: Path) -> None:
    """Raise `DataError` where an array of a zip file is far larger than what it is packed in."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as packed:
        for member in packed.infolist():
            if member.file_size > max(PACKED * member.compress_size, LONGEST):
                raise DataError(
                    f"{path.name}: '{member.filename}' is {member.compress_size:,} bytes that "
                    f"unpack to {member.file_size:,}: save its arrays unpacked (numpy.savez)."
                )


def _damaged(path: Path, error: Exception) -> DataError:
    kind = "npz" if kind_of(path) == ".npz" else "HDF5"
    cut = " The file seems to be cut off." if "truncated" in str(error) else ""
    reason = " ".join(str(error.args[0] if error.args else error).split())
    return DataError(f"{path.name}: cannot be read as {kind} ({reason}).{cut}")
