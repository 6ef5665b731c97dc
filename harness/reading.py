"""Files of a user, opened with care: regular ones alone, and neither lines nor texts without end.

A pipe or a terminal would be waited for without a word, and a compressed file may hold a thousand
times its size: what is longer than any record is refused before it is in memory.
"""

import gzip
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from harness.errors import DataError

LONGEST = 2**26
"""Bytes of a line, a cell, an entry of a JSON list or a text that is read as a whole, unpacked."""

TOO_LONG = f"longer than {LONGEST >> 20} MiB"

CHUNK = 2**20
"""Bytes that are read at once where lines do not matter."""

BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")

KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path, called: str | None = None) -> None:
    """Raise `DataError` where a path is a pipe, a socket or a device; `called` names it there."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # who opens it says so
    kind = next((name for test, name in KINDS if test(mode)), None)
    if kind:
        raise DataError(f"{called or path}: is {kind}, not a file: save what it gives in a file.")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a small text file; raises `DataError` where it is none or very long, else as `open`."""
    check_regular(path)
    with open(path, encoding=encoding) as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise DataError(f"{path}: is {TOO_LONG}: not a file of this kind.")
    return text


def byte_lines(path: Path) -> Iterator[bytes]:
    """Lines with their line ends, unpacked where the name ends with `.gz`.

    Raises `DataError` beginning with file and line for one that is too long, and for UTF-16.
    """
    check_regular(path, path.name)
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise DataError(f"{path.name} line {number}: is {TOO_LONG}.")
            if number == 1:
                if line.startswith(UTF16):
                    raise DataError(f"{path.name} line 1: the file is UTF-16, save it as UTF-8.")
                line = line.removeprefix(BOM)
            yield line


def chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file piece by piece, unpacked where its name ends with `.gz`, no BOM."""
    check_regular(path, path.name)
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        first = True
        while chunk := file.read(CHUNK):
            yield chunk.removeprefix(BOM) if first else chunk
            first = False


def decoded(line: bytes, place: str) -> str:
    """A line's text; raises `DataError` beginning with `place` where it is not UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: no UTF-8 (byte {error.start + 1} of the line), save the file as UTF-8."
        ) from None
