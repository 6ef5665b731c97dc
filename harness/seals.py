"""Seals: what a run keeps says by itself whether it is as it was written.

A finished folder has a `seal.json`, written last: the hash of every file below it. A file of JSON
lines that grows, or is read row by row, has a hash in each row, at its end:

    {"id":"q1","outputs":["Yes"],"hash":"0123456789abcdef"}
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from harness.errors import DataError, HarnessError
from harness.files import append_line, complete_lines, hash_file, write_atomic
from harness.schema import canonical_json, digest

SEAL = "seal.json"
UNFINISHED = ("steps", "chunk-*.jsonl", "*.partial")
"""Names in a folder, as patterns, of what its computation resumes from: no part of its result."""
FOREIGN = "does not belong to it"

Row = Mapping[str, Any]
KEY, DIGITS = '"hash":"', 16
TAIL = len(KEY) + DIGITS + len('"}')


class DamagedError(DataError):
    """A kept file or folder that is not as it was written."""


# Folders


def seal(folder: Path) -> None:
    """Write the seal of a finished folder over all its files but hidden and unfinished ones."""
    try:
        files = {name: hash_file(path) for name, path in _files(folder).items()}
    except HarnessError as error:
        raise HarnessError(f"{error} Was it removed? The same command makes it again.") from None
    write_atomic(folder / SEAL, _text(folder, files))


def is_sealed(folder: Path) -> bool:
    """Whether a folder was finished; `check` says whether it still is as it was then."""
    return os.path.lexists(folder / SEAL)


def check(folder: Path) -> None:
    """Raise `DamagedError`, with what to remove, unless a folder is as it was sealed."""
    found = damage(folder)
    if found is not None:
        what = "that file" if found.endswith(FOREIGN) else folder
        raise DamagedError(f"{folder}: damaged ({found}): remove {what}.")


def damage(folder: Path) -> str | None:
    """The first difference between a folder and its seal; None where there is none."""
    try:
        text = (folder / SEAL).read_bytes().decode()
        files = json.loads(text)["files"]
        if text != _text(folder, files):
            return f"{SEAL} is not as it was written"
    except OSError as error:
        return f"{SEAL}: {error.strerror or error}"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{SEAL} is not as it was written"
    here = _files(folder)
    for name in sorted(files.keys() | here.keys()):
        if name not in here:
            return f"{name} is missing"
        if name not in files:
            return f"{name} {FOREIGN}"
        try:
            if hash_file(here[name]) != files[name]:
                return f"{name} is not as it was written"
        except HarnessError:
            return f"{name} cannot be read"
    return None


def _text(folder: Path, files: Mapping[str, str]) -> str:
    """What a seal says, with a hash of itself; it holds for the folder of this name alone."""
    files = dict(sorted(files.items()))
    record = {"files": files, "hash": digest([folder.name, files])}
    return json.dumps(record, indent=1) + "\n"


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        top = place == str(folder)
        folders[:] = [name for name in folders if _is_result(name, top)]
        paths = [Path(place, name) for name in names if _is_result(name, top)]
        found |= {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    found.pop(SEAL, None)
    return found


def _is_result(name: str, top: bool) -> bool:
    unfinished = top and any(fnmatch(name, pattern) for pattern in UNFINISHED)
    return not (name.startswith(".") or unfinished)


# Rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, each with a hash of its content and its place."""
    lines = (_sealed(row, _place(path, index)) for index, row in enumerate(rows))
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_rows(path: Path, remove: Path | str = "it") -> list[dict[str, Any]]:
    """Read the rows of `write_rows`; raises `DamagedError` with the first row that was changed,
    moved or cut, and with what to remove."""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path}: damaged ({error}): remove {remove}.") from None
    lines = text.removesuffix("\n").split("\n") if text else []
    rows = []
    for index, line in enumerate(lines):
        row = _opened(line, _place(path, index))
        if row is None:
            raise DamagedError(
                f"{path}: damaged (line {index + 1} is not as it was written): remove {remove}."
            )
        rows.append(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a row with a hash of its content to a file of JSON lines; its place does not matter."""
    append_line(path, _sealed(row, ""))


def appended_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Read the rows of `append_row`, but for one that a killed writer left unfinished."""
    for number, line in enumerate(complete_lines(path), start=1):
        row = _opened(line.decode(errors="replace"), "")
        if row is None:
            raise DamagedError(
                f"{path} line {number}: not as it was written. Delete the line, or the file, to "
                "have it made again."
            )
        yield row


def _place(path: Path, index: int) -> str:
    return f"{path.parent.name}/{path.name} {index}"


def _sealed(row: Row, place: str) -> str:
    # A lone surrogate, which UTF-8 cannot hold, as JSON escapes it.
    text = canonical_json(row).encode(errors="backslashreplace").decode()
    comma = "," if row else ""
    return f'{text[:-1]}{comma}{KEY}{_hash(place, text)}"}}'


def _opened(line: str, place: str) -> dict[str, Any] | None:
    """The row of a line; None where it is not as it was written."""
    text = line[:-TAIL].removesuffix(",") + "}"
    if line[-TAIL:] != f'{KEY}{_hash(place, text)}"}}':
        return None
    row: dict[str, Any] = json.loads(text)
    return row


def _hash(place: str, text: str) -> str:
    return hashlib.sha256(f"{place}\n{text}".encode()).hexdigest()[:DIGITS]
