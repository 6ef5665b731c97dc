"""Files that survive a killed process: atomic writes, locks, content hashes, JSON lines."""

import hashlib
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import DataError, HarnessError
from harness.reading import check_regular

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)
"""Names of files that are being written."""
SETTLED_NS = 2_000_000_000
"""Nanoseconds after which another change of a file shows in its times on any file system."""

_hashes: dict[tuple[int, ...], str] = {}
"""State of a file -> hash of its content, for this process."""


def write_atomic(path: Path, data: str | bytes | Sequence[bytes | memoryview]) -> None:
    """Replace `path` by `data` in one step: readers see the old file or the new one, never a part.

    The data, whole or in parts, goes to a hidden file in the same folder (`.NAME.*.tmp`), to the
    disk, and is then renamed. A link is followed; a file that holds the data is left alone. Raises
    `HarnessError` where that fails; the old file then stands.
    """
    target = Path(os.path.realpath(path))
    content = data.encode() if isinstance(data, str) else data
    parts = [content] if isinstance(content, bytes) else content
    with suppress(OSError):
        if target.stat().st_size == len(parts[0]) and target.read_bytes() == content:
            return
    partial = temporary(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise HarnessError(
            f"{path}: cannot be written ({error.strerror or error}); what was there is untouched. "
            "Make room or choose another folder."
        ) from error


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Delete what killed writers left in a folder, and below it; only under the lock that guards
    it."""
    for leftover in leftovers(folder, below):
        remove(leftover)


def lock_of(path: Path) -> Path:
    """The lock of a file that has one of its own, beside it."""
    return path.with_name(f".{path.name}.lock")


def remove_leftovers_beside(path: Path) -> None:
    """Delete what killed writers left of a file whose lock is held here, and of the files beside it
    that nobody writes now."""
    for leftover in leftovers(path.parent, below=False):
        written = leftover.with_name(leftover.name[1:].rpartition(".tmp")[0].rpartition(".")[0])
        if written == path:
            remove(leftover)
        else:
            with suppress(HarnessError), lock(lock_of(written), timeout=0):
                remove(leftover)


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with everything in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes its place and name when all is written."""
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        remove(old)
    yield partial
    partial.rename(folder)


def leftovers(folder: Path, below: bool) -> list[Path]:
    """The temporary files in a folder, and below it: of killed writers or of live ones."""
    found = (folder.rglob if below else folder.glob)(".*.tmp")
    return [path for path in found if TEMPORARY.fullmatch(path.name)]


def temporary(target: Path) -> Path:
    """A hidden name beside a file, under which it is written before it is renamed."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system allows it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def lock(path: Path, timeout: float = 600.0, waiting: str = "") -> Iterator[None]:
    """Hold `path` as an exclusive lock between processes; the system frees it when one is killed.

    The empty lock file stays. `waiting` is printed once where another process holds it for more
    than a second. Raises `HarnessError` after `timeout` seconds of waiting.
    """
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        guard = filelock.FileLock(path, timeout=timeout)
        try:
            guard.acquire(timeout=min(1.0, timeout))
        except filelock.Timeout:
            if waiting:
                print(f"harness: {waiting}", file=sys.stderr, flush=True)
            guard.acquire()
    except filelock.Timeout:
        raise HarnessError(
            f"{path}: another process has held this lock for {timeout:g} s. Wait for it or end it."
        ) from None
    except OSError as error:
        raise HarnessError(
            f"{path}: cannot be written, to lock it ({error.strerror or error}). Choose a folder "
            "you may write."
        ) from error
    try:
        yield
    finally:
        guard.release()


def recorded_name(name: str, content: str | None = None) -> str:
    """How results name a model, a file or a folder: as it was typed, but for a path that only
    this machine knows, its last part, with `content`, the hash of what lies there."""
    path = Path(name)
    if not (path.is_absolute() or name.startswith("~") or ".." in path.parts):
        return name
    own = Path(os.path.abspath(path.expanduser())).name if not name.startswith("~") else path.name
    return f"{own}@{content[:8]}" if content else own


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 16 hex digits; raises `HarnessError` where it is no file."""
    check_regular(path)
    try:
        return sha256_file(path)[:16]
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read ({error.strerror or error}).") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex digits.

    A process reads a file once for as long as the file system says that it is the same. One that
    was changed a moment ago is read again each time: the next change may leave no other time.
    """
    status = os.stat(path)
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    settled = time.time_ns() - changed > SETTLED_NS
    if settled and state in _hashes:
        return _hashes[state]
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        _hashes[state] = found
    return found


def hash_files(source: Path | Iterable[Path]) -> str:
    """One hash over the names and contents of files, 16 hex digits.

    A folder counts with all files below it by their relative names, hidden ones and those in
    hidden folders left out; single files count by their names. Order, dates and the folder's own
    place do not matter.
    """
    if isinstance(source, Path):
        if not source.is_dir():
            raise HarnessError(f"{source}: no such folder.")
        for path in source.rglob("*"):
            check_regular(path)
        named = {
            path.relative_to(source).as_posix(): path
            for path in source.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(source).parts)
        }
    else:
        paths = list(source)
        named = {path.name: path for path in paths}
        if len(named) < len(paths):
            raise ValueError("two of the files have one name")
    hashes = {name: hash_file(path) for name, path in sorted(named.items())}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def append_line(path: Path, text: str) -> None:
    """Add one line (JSON without line breaks) to a file and hand it to the system at once.

    What a killed writer left behind the last line break is cut off first. One writer at a time.
    """
    if "\n" in text or "\r" in text:
        raise ValueError("a line has no line break in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            _cut_partial_line(file)
            file.write(text.encode() + b"\n")
    except OSError as error:
        raise HarnessError(
            f"{path}: cannot be written ({error.strerror or error}). Make room and run again."
        ) from error


def _cut_partial_line(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    keep = end
    while keep:
        start = max(0, keep - 65536)
        file.seek(start)
        found = file.read(keep - start).rfind(b"\n")
        keep = start + found + 1
        if found >= 0:
            break
    if keep < end:
        file.truncate(keep)
    file.seek(0, os.SEEK_END)


def complete_lines(path: Path) -> list[bytes]:
    """A file's lines but for a last one without line break, which a killed writer left; none where
    the file does not exist."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_lines_tolerant(path: Path) -> list[Any]:
    """The JSON values of a file's complete lines; none where the file does not exist.

    A complete line that is not JSON raises `DataError` with its number.
    """
    values = []
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise DataError(
                f"{path} line {number}: not JSON. Delete the file to have it made again."
            ) from None
    return values
