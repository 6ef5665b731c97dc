"""What runs keep: results by the hash of everything they depend on, resumable in chunks."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from harness import processes
from harness.errors import HarnessError
from harness.files import (
    leftovers,
    lock,
    remove,
    temporary,
    write_atomic,
)
from harness.schema import canonical_json, digest
from harness.seals import UNFINISHED, read_rows, write_rows

T = TypeVar("T")
JsonRow = dict[str, Any]

CHUNK = 256
"""Items between two saves of a long computation."""
ROWS = "rows.jsonl"
LOCK = ".lock"


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
        computation continues at its first missing chunk. Of two runs at once one computes.
        """
        folder = self.folder(kind, inputs)
        done = folder / ROWS
        with turn(folder, done.exists) as todo:
            if not todo:
                advance(len(items))
            chunks: list[Path] = []
            for start in range(0, len(items), chunk) if todo else ():
                path = folder / f"chunk-{len(chunks):06d}.jsonl"
                part = items[start : start + chunk]
                if len(chunks) % processes.count() == processes.index() and not path.exists():
                    write_rows(path, _one_each(kind, function(part, start), part))
                chunks.append(path)
                advance(len(part))
            processes.wait()
            if todo and processes.is_main():
                _join(done, inputs, chunks)
        rows = read_rows(done, remove=folder)
        if len(rows) != len(items):
            raise HarnessError(f"{done}: {len(rows)} rows for {len(items)} items: remove {folder}.")
        return rows


def _join(done: Path, inputs: Mapping[str, Any], chunks: Sequence[Path]) -> None:
    """Make one file of a finished computation's chunks."""
    write_atomic(done.with_name("inputs.json"), canonical_json(dict(inputs)) + "\n")
    write_rows(done, [row for path in chunks for row in read_rows(path, remove=done.parent)])
    for path in chunks:
        path.unlink()


@contextmanager
def turn(folder: Path, finished: Callable[[], bool]) -> Iterator[bool]:
    """Have a folder of the store to this run alone; says whether its result is still to be made.

    Where another run is making it, that is waited for. What killed runs left there goes. All
    processes of a run enter together, are told the same, and leave together.
    """
    if processes.count() == 1 and finished() and not _remains(folder, finished=True):
        yield False
        return
    waiting = f"waiting for another run, which works on {folder}"
    main = processes.is_main()
    with lock(folder / LOCK, processes.PATIENCE, waiting) if main else nullcontext():
        if main:
            for path in _remains(folder, finished()):
                remove(path)
        processes.wait()
        todo = not finished()
        processes.wait()  # nobody makes what another one has not looked for
        yield todo
        processes.wait()


def _remains(folder: Path, finished: bool) -> list[Path]:
    """What killed runs left in a folder and no run resumes from."""
    patterns = UNFINISHED if finished else UNFINISHED[-1:]
    resumed = (path for pattern in patterns for path in folder.glob(pattern))
    return [*resumed, *leftovers(folder, below=True)]


def link(target: Path, place: Path) -> None:
    """Make `place` show `target` of the store, in a run's folder that people look at."""
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = Path.resolve(target)
    if place.is_symlink() and place.readlink() == whole:
        return
    fresh = temporary(place)
    fresh.symlink_to(whole, target_is_directory=target.is_dir())
    if not place.is_symlink():
        remove(place)
    os.replace(fresh, place)


def _one_each(kind: str, rows: Sequence[JsonRow], items: Sequence[object]) -> Sequence[JsonRow]:
    if len(rows) != len(items):
        raise HarnessError(f"{kind}: {len(rows)} results for {len(items)} items.")
    return rows
