"""Leaderboards to be compared: files, folders, git revisions, each entry read when it is needed."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

from harness import leaderboard, revisions
from harness.board_text import BoardText
from harness.errors import HarnessError
from harness.leaderboard import Board
from harness.reading import check_regular
from harness.schema import Entry

Boards = Mapping[tuple[bool, str], Mapping[str, Entry]]
"""(lab, task) -> place -> entry."""
TAIL = re.compile(
    rb'\n  \},\n  "lab": (true|false),\n  "schema": \d+,\n  "task": "([^"\\\n]+)"\n\}\n\Z'
)


class LazyBoard(Mapping[str, Entry]):
    """The entries of a board's canonical text; each is checked whenever it is asked for.

    Ten thousand entries as Python objects take a hundred times their text.
    """

    def __init__(self, text: BoardText, board: Board, name: str) -> None:
        self.text, self.board, self.name = text, board, name
        self._slices = dict(text.entries())

    def __getitem__(self, place: str) -> Entry:
        raw = self.text.entry(self._slices[place])
        return leaderboard.checked(
            leaderboard.json_of(raw, self.name), place, self.board, self.name
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def raw(self, place: str) -> bytes | None:
        """The text of an entry; equal texts are equal entries."""
        found = self._slices.get(place)
        return None if found is None else self.text.entry(found)


def same(a: Mapping[str, Entry], b: Mapping[str, Entry], place: str) -> bool:
    """Whether both boards say the same of a place to the last byte; False where that is unknown."""
    if isinstance(a, LazyBoard) and isinstance(b, LazyBoard):
        return a.raw(place) == b.raw(place) is not None
    return False


def folder(given: Path | None) -> Path:
    """The folder of leaderboards: as given, or `leaderboards` here or in the nearest parent."""
    if given is not None:
        return given
    here = Path.cwd()
    found = (parent / "leaderboards" for parent in (here, *here.parents))
    near = next((path for path in found if path.is_dir()), here / "leaderboards")
    return Path(os.path.relpath(near))


def load(source: str | Path, leaderboards: Path = Path("leaderboards")) -> Boards:
    """Read a file, a folder or a git revision (`HEAD~1`, `main:leaderboards`).

    A name that is both a path and a revision is refused; a `Path` is never a revision.
    """
    path = Path(source)
    if os.path.exists(path):  # unlike Path.exists, False for overlong names
        plain = isinstance(source, str) and not source.startswith((".", "/"))
        if plain and revisions.is_revision(str(source), leaderboards):
            raise HarnessError(
                f"'{source}' is both a path and a git revision. Write ./{source} for the path, "
                f"refs/heads/{source} or refs/tags/{source} for the revision."
            )
        if path.is_file():
            return dict([_of_file(path)])
        boards = _of_folder(path)
        if not boards:
            raise HarnessError(f"{path}: no leaderboards (*.json, lab/*.json) in this folder.")
        return boards
    if isinstance(source, Path):
        raise HarnessError(f"{source}: no such file or folder.")
    found = revisions.read_revision(source, leaderboards)
    names = {path: f"{source.partition(':')[0]}:{path}" for path in found}
    return dict(_of_text(text.encode(), names[path]) for path, text in found.items())


def _of_folder(root: Path) -> Boards:
    boards = {}
    for path in leaderboard.files(root):
        (lab, task), entries = _of_file(path)
        leaderboard.check_place(root, path, task, lab)
        boards[lab, task] = entries
    return boards


def _of_file(path: Path) -> tuple[tuple[bool, str], Mapping[str, Entry]]:
    check_regular(path)
    with suppress(OSError, ValueError), open(path, "rb") as file:
        return _canonical(mmap(file.fileno(), 0, access=ACCESS_READ), str(path))
    board = leaderboard.read(path)
    return (board.lab, board.task), board.entries


def _of_text(text: bytes, name: str) -> tuple[tuple[bool, str], Mapping[str, Entry]]:
    with suppress(ValueError):
        return _canonical(text, name)
    board = leaderboard.parse(text.decode(), name)
    return (board.lab, board.task), board.entries


def _canonical(data: bytes | mmap, name: str) -> tuple[tuple[bool, str], LazyBoard]:
    """A board from its canonical text; raises `ValueError` for any other."""
    tail = TAIL.search(data, max(0, len(data) - 1000))
    if tail is None:
        raise ValueError("not the canonical text of a leaderboard")
    board = Board(tail[2].decode(), tail[1] == b"true")
    text = BoardText(data, *leaderboard.frame(board))
    return (board.lab, board.task), LazyBoard(text, board, name)
