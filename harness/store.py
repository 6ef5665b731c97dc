"""What runs keep: results by the hash of everything they depend on, resumable in chunks."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from harness import processes
from harness.errors import HarnessError
from harness.files import hash_file, lock, write_atomic
from harness.schema import canonical_json, digest

T = TypeVar("T")
JsonRow = dict[str, Any]

PACKAGES = ("accelerate", "numpy", "peft", "tokenizers", "torch", "transformers")
"""Packages whose version can change a result."""

CHUNK = 256
"""Items between two saves of a long computation."""


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


@cache
def code_hash(*places: Path) -> str:
    """Hash of Python sources, files or whole folders: changed code makes results anew."""
    files = [file for place in places for file in (sorted(place.rglob("*.py")) or [place])]
    return digest([[path.name, hash_file(path)] for path in files])


class Store:
    """A folder of finished results, by kind and key, and of unfinished ones' chunks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """The folder that belongs to a result with these inputs."""
        return self.root / kind / digest(dict(inputs))

    def mapped(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        items: Sequence[T],
        function: Callable[[Sequence[T], int], Sequence[JsonRow]],
        chunk: int = CHUNK,
        advance: Callable[[int], None] = lambda _: None,
    ) -> list[JsonRow]:
        """Rows of `function` over items: one row per item, computed once, kept as JSON lines.

        Args:
            inputs: everything that the rows depend on but the code, JSON-able.
            function: (items of a chunk, index of its first item) -> one row per item.
            advance: called with the number of items that are done, for progress.

        Chunks are shared out over the processes and do not depend on their number; a killed
        computation continues at its first missing chunk.
        """
        folder = self.folder(kind, inputs)
        done = folder / "rows.jsonl"
        if not done.exists():
            for number, start in enumerate(range(0, len(items), chunk)):
                path = folder / f"chunk-{number:06d}.jsonl"
                part = items[start : start + chunk]
                if number % processes.count() == processes.index() and not path.exists():
                    write_atomic(path, _dump(_one_each(kind, function(part, start), part)))
                advance(len(part))
            processes.wait()
            if processes.is_main():
                with lock(folder / ".lock"):
                    if not done.exists():
                        _join(folder, inputs)
            processes.wait()
        else:
            advance(len(items))
        rows = load_rows(done)
        if len(rows) != len(items):
            raise HarnessError(f"{done}: {len(rows)} rows for {len(items)} items: remove {folder}.")
        return rows


def _join(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Make one file of a finished computation's chunks."""
    chunks = sorted(folder.glob("chunk-*.jsonl"))
    write_atomic(folder / "inputs.json", canonical_json(dict(inputs)) + "\n")
    rows = "".join(path.read_text(encoding="utf-8") for path in chunks)
    write_atomic(folder / "rows.jsonl", rows)
    for path in chunks:
        path.unlink()


def link(target: Path, place: Path) -> None:
    """Make `place` show `target` of the store, in a run's folder that people look at."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    place.symlink_to(Path.resolve(target), target_is_directory=target.is_dir())


def _one_each(kind: str, rows: Sequence[JsonRow], items: Sequence[object]) -> Sequence[JsonRow]:
    if len(rows) != len(items):
        raise HarnessError(f"{kind}: {len(rows)} results for {len(items)} items.")
    return rows


def _dump(rows: Sequence[JsonRow]) -> str:
    return "".join(canonical_json(row) + "\n" for row in rows)


def load_rows(path: Path) -> list[JsonRow]:
    """Rows that were kept as JSON lines; raises `HarnessError` where the file is damaged."""
    try:
        # Not `splitlines`: a text may hold other ends of a line.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return [json.loads(line) for line in lines if line]
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"{path}: damaged ({error}): remove {path.parent}.") from None
