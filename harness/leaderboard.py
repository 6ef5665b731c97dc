"""Leaderboards: one JSON file per task, written so that a diff shows what changed and nothing else.

`ROOT/<task>.json` holds public results, `ROOT/lab/<task>.json` those of the lab:

    {"entries": {PLACE: ENTRY}, "lab": false, "schema": 1, "task": "pope"}

Keys are sorted; an object or list of numbers stands on one line, so a metric is a line, and so is
each packed string. What was measured (metrics, FLOPs) is rounded to 6 significant digits; what was
asked (config, overrides) is kept exactly. Writers of a file take turns by `.FILE.lock` beside it,
which git ignores.
"""

import json
import math
import mmap
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.agreement import contradiction
from harness.board_text import BoardText, json_line, lines
from harness.errors import HarnessError
from harness.files import lock, lock_of, remove_leftovers_beside, write_atomic
from harness.reading import check_regular
from harness.registry import DISTRIBUTION
from harness.schema import SCHEMA_VERSION, Entry

DIGITS = 6
"""Significant digits of what was measured."""
MEASURED = frozenset({"metrics", "categories", "cost"})


@dataclass
class Board:
    """One leaderboard file: the entries of a task by their place."""

    task: str
    lab: bool
    entries: dict[str, Entry] = field(default_factory=dict)


def board_path(root: Path, task: str, lab: bool) -> Path:
    """Where a task's leaderboard lies below `root`."""
    if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)?", task):
        raise HarnessError(
            f"task '{task}' cannot name a leaderboard file: use letters, digits and . + - _."
        )
    file = f"{task.replace('/', '-')}.json"
    return root / "lab" / file if lab else root / file


SAME_RESULT = "same result of other code"
"""What `record` says where nothing but the plugins' own code or versions is new."""


def record(root: Path, entry: Entry) -> str:
    """Write an entry to its place in its leaderboard: `added`, `changed`, `unchanged`, or the same
    result of other code.

    An equal result of equal plugins is left alone with its provenance: no byte changes. Plugins
    are equal where distribution, version and the code of their own package are; the engine's code
    does not count. An older entry that names no plugin stands if all are harness' own, whose code
    its commit tells; if another's took part, the new entry replaces it and names all.

    Safe among processes and against being killed. Raises `HarnessError` for a file that cannot be
    read or written; the file is then as before. Of a file in canonical form the entry of this
    place alone is read and checked, and spliced in: `read` checks all of them.
    """
    path = board_path(root, entry.task.name, entry.lab)
    if not _finite(entry.model_dump()):
        raise HarnessError(
            f"task '{entry.task.name}': the result of '{entry.place}' has a number that is not "
            "finite; a metric that is undefined must be None."
        )
    entry = Entry.model_validate(_rounded(entry))
    if problem := contradiction(entry):
        raise HarnessError(
            f"task '{entry.task.name}': the result of '{entry.place}' contradicts itself: "
            f"{problem}. The primary metric and the 'paired' ones are the ratios of their items' "
            "shares: the task must give another result another name."
        )
    with lock(lock_of(path)):
        remove_leftovers_beside(path)
        text = canonical(path, Board(entry.task.name, entry.lab)) if path.exists() else None
        if text is not None:
            with suppress(ValueError):  # not canonical after all: read as a whole
                return _spliced(path, text, entry)
        board = read(path) if path.exists() else Board(entry.task.name, entry.lab)
        outcome = _outcome(board.entries.get(entry.place), entry)
        if outcome != "unchanged":
            board.entries[entry.place] = entry
            write_atomic(path, dump(board))
    return outcome


def _spliced(path: Path, text: BoardText, entry: Entry) -> str:
    """Put an entry into the canonical text of its board, and say what that came to."""
    found = text.find(entry.place)
    old = None
    if found.found:
        board = Board(entry.task.name, entry.lab)
        old = checked(json.loads(text.entry(found)), entry.place, board, str(path))
    outcome = _outcome(old, entry)
    if outcome != "unchanged":
        said = "".join(lines(_rounded(entry), "    "))
        parts = text.spliced(found, f"    {json_line(entry.place)}: {said}".encode())
        write_atomic(path, parts)
    return outcome


def canonical(path: Path, board: Board) -> BoardText | None:
    """The text of a leaderboard's file, mapped into memory; None unless it is as `dump` has it."""
    check_regular(path)
    with suppress(OSError, ValueError), open(path, "rb") as file:
        return BoardText(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), *frame(board))
    return None


def frame(board: Board) -> tuple[bytes, bytes]:
    """What a board's text has before its first entry and after its last."""
    value = {"schema": SCHEMA_VERSION, "task": board.task, "lab": board.lab, "entries": {"": ""}}
    head, _, tail = "".join([*lines(value, ""), "\n"]).encode().partition(b'    "": ""')
    return head, tail


def _outcome(old: Entry | None, new: Entry) -> str:
    if old is None:
        return "added"
    if old.result() != new.result():
        return "changed"
    known, now = old.provenance.plugins, new.provenance.plugins
    same = (
        known == now if known else all(each.distribution == DISTRIBUTION for each in now.values())
    )
    return "unchanged" if same else SAME_RESULT


def dump(board: Board) -> str:
    """The one text of a leaderboard, with a line break at its end."""
    value = {
        "schema": SCHEMA_VERSION,
        "task": board.task,
        "lab": board.lab,
        "entries": {place: _rounded(entry) for place, entry in board.entries.items()},
    }
    return "".join(lines(value, "")) + "\n"


def read(path: Path) -> Board:
    """Read a leaderboard file; raises `HarnessError` naming it."""
    check_regular(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HarnessError(f"{path}: not UTF-8. Restore the file from git.") from None
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Board:
    """Read a leaderboard's text; `name` stands for it in errors."""
    if re.search(r"^(<{7}|={7}|>{7})( |$)", text, re.MULTILINE):
        raise HarnessError(
            f"{name}: has merge-conflict markers. Keep one side whole (`git checkout --ours` or "
            "`--theirs`) and run the other side's command again."
        )
    value = json_of(text, name)
    _check_frame(value, name)
    board = Board(value["task"], value["lab"])
    for place, raw in value["entries"].items():
        board.entries[place] = checked(raw, place, board, name)
    return board


def json_of(text: str | bytes, name: str) -> Any:
    """JSON whose keys stand once each; `name` stands for its file in errors."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{name}: not JSON ({error}). Restore the file from git.") from None


def files(root: Path) -> list[Path]:
    """The leaderboards' files below a folder, in order."""
    return sorted([*root.glob("*.json"), *root.glob("lab/*.json")])


def check_place(root: Path, path: Path, task: str, lab: bool) -> None:
    """Refuse a file that holds another task's leaderboard than its name says."""
    expected = board_path(root, task, lab)
    if path != expected:
        raise HarnessError(f"{path}: holds what belongs to {expected}. Move the file there.")


def load_all(root: Path) -> dict[tuple[bool, str], dict[str, Entry]]:
    """Every leaderboard below `root`, as (lab, task) -> place -> entry."""
    boards = {}
    for path in files(root):
        board = read(path)
        check_place(root, path, board.task, board.lab)
        boards[board.lab, board.task] = board.entries
    return boards


def _check_frame(value: Any, name: str) -> None:
    version = value.get("schema") if isinstance(value, dict) else None
    if type(version) is not int or version < 1:
        raise HarnessError(f"{name}: not a leaderboard (no schema version).")
    if version > SCHEMA_VERSION:
        raise HarnessError(
            f"{name}: has schema {version}, this harness reads up to {SCHEMA_VERSION}. "
            "Update the harness."
        )
    unknown = sorted(set(value) - {"schema", "task", "lab", "entries"})
    if unknown:
        raise HarnessError(
            f"{name}: unknown field '{unknown[0]}'. Update the harness, or restore the file."
        )
    kinds = {"task": str, "lab": bool, "entries": dict}
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            raise HarnessError(f"{name}: '{key}' is missing or wrong. Restore the file from git.")


def checked(raw: Any, place: str, board: Board, name: str) -> Entry:
    """A valid entry of a board, without contradiction; `name` stands for its file in errors."""
    try:
        entry = Entry.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        fix = (
            "Update the harness, or restore the file from git."
            if first["type"] == "extra_forbidden"
            else "Restore the file from git."
        )
        raise HarnessError(f"{name}: entry '{place}': {where}: {first['msg']}. {fix}") from None
    if (entry.task.name, entry.lab) != (board.task, board.lab):
        raise HarnessError(
            f"{name}: entry '{place}' belongs to another leaderboard. Restore the file from git."
        )
    if entry.place != place:
        raise HarnessError(
            f"{name}: entry '{place}' has the settings of '{entry.place}'. "
            "Restore the file from git."
        )
    try:
        problem = contradiction(entry)
    except HarnessError as error:
        raise HarnessError(f"{name}: entry '{place}': {error}") from None
    if problem:
        raise HarnessError(f"{name}: entry '{place}': {problem}. Restore the file from git.")
    return entry


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"'{twice}' stands there twice")
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _rounded(entry: Entry) -> dict[str, Any]:
    dumped = entry.model_dump(mode="json")
    return {key: _round(part) if key in MEASURED else part for key, part in dumped.items()}


def _round(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _round(part) for key, part in value.items()}
    # Adding 0 turns -0 into 0.
    return float(f"{value:.{DIGITS}g}") + 0.0 if isinstance(value, float) else value
