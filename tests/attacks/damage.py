"""Damages to what runs of the five methods keep: refused, made again, never used in silence.

An attempt copies the folder of a finished, half-removed or killed run, damages one kept file and
lets the same command run. Leaderboards must then be what an undisturbed run wrote, or the command
must end with one line that says what is damaged.
"""

import ctypes
import json
import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.attacks.commands import COMMANDS
from tests.harness import launch

LONGEST = 300.0
"""Seconds after which a run hangs."""
NOT_READ = ("inputs.json", "run.log", "config.json", "timing.json", ".lock")
Damage = Callable[[Path, random.Random], bool]
"""(file, numbers) -> whether the file could be damaged so."""


def run(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Make `count` damages, the five methods in turn; return how often each outcome was seen."""
    numbers = random.Random(seed)
    outcomes: Counter[str] = Counter()
    states: dict[str, list[State]] = {}
    attempt = 0
    while sum(outcomes.values()) < count:
        method = list(COMMANDS)[attempt % len(COMMANDS)]
        attempt += 1
        if method not in states:
            states[method] = list(states_of(method, COMMANDS[method], folder / method))
        state = numbers.choice(states[method])
        file, damage = numbers.choice(state.kept()), numbers.choice(list(DAMAGES))
        outcome = attacked(state, file, damage, numbers, folder / "attempt")
        if outcome is not None:
            outcomes[outcome] += 1
            print(f"{method}, {state.name}: {damage} {file}: {outcome}", flush=True)
    return dict(outcomes)


class State(NamedTuple):
    """A folder in which a command has run, wholly or in part, and what it is to come to."""

    name: str
    words: tuple[str, ...]
    folder: Path
    right: Mapping[str, Any]

    def kept(self) -> list[Path]:
        """The files that a run may reuse, relative to the folder."""
        files = (path for path in sorted((self.folder / "runs").rglob("*")) if path.is_file())
        own = (path for path in files if not path.is_symlink() and path.name not in NOT_READ)
        return [path.relative_to(self.folder) for path in own]


def states_of(method: str, words: tuple[str, ...], folder: Path) -> Iterator[State]:
    """A finished run; the same without predictions, and without fits; one killed in training."""
    whole, killed = folder / "whole", folder / "killed"
    done = launch.start(words, whole).end(LONGEST)
    assert done.status == 0, done.stderr
    right = entries(whole)
    yield State("finished", words, whole, right)
    for name, kinds in (("unscored", ["predictions"]), ("untrained", ["predictions", "fits"])):
        part = folder / name
        shutil.copytree(whole, part, symlinks=True)
        for kind in kinds:
            shutil.rmtree(part / "runs/store" / kind)
        yield State(name, words, part, right)
    before = partial(launch.kill_at, "os.rename", "curves.jsonl")
    run = launch.start(words, killed, before=before).end(LONGEST)
    assert run.status == -signal.SIGKILL, run.stderr
    yield State("killed", words, killed, right)


def entries(folder: Path) -> dict[str, Any]:
    """The entries of all leaderboards of a folder, by file and place; without who made them."""
    root = folder / "leaderboards"
    return {
        f"{path.relative_to(root)} {place}": {**entry, "provenance": None}
        for path in sorted(root.rglob("*.json"))
        for place, entry in json.loads(path.read_text())["entries"].items()
    }


def attacked(
    state: State, file: Path, damage: str, numbers: random.Random, folder: Path
) -> str | None:
    """What came of the command after a damage; None where the file cannot be damaged so."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(state.folder, folder, symlinks=True)
    path = folder / file
    if not DAMAGES[damage](path, numbers):
        return None
    damaged = content(path)
    if path.is_file():
        os.utime(path, (0, path.stat().st_mtime))
    try:
        again = launch.start(state.words, folder, before=as_a_user).end(LONGEST)
    except AssertionError:
        return "hang"
    found = entries(folder)
    said = again.stderr
    if any(state.right.get(place) != entry for place, entry in found.items()):
        outcome = "silent"
    elif again.status == 0:
        # Of what was only forbidden to be read, the content is right.
        again_right = damaged == content(state.folder / file) or "not as it was written" in said
        outcome = _unused_or_remade(path, damaged, again_right, found == state.right)
    elif "Traceback" in said:
        outcome = "traceback"
    else:
        outcome = "refused" if _one_line(again, folder) else "broken line"
    if outcome not in ("refused", "made again", "not read"):
        print(f"{state.name}: {damage} {file}: {outcome}: {said[-2000:]}", flush=True)
    return outcome


def _unused_or_remade(path: Path, damaged: bytes | None, right: bool, whole: bool) -> str:
    read = path.is_file() and path.stat().st_atime > 0  # before it is read here
    if not whole:
        return "unfinished"
    if right or content(path) != damaged:
        return "made again"
    return "silent" if read else "not read"


def _one_line(run: launch.Run, folder: Path) -> bool:
    """Whether a run ended with one line, which names what to remove."""
    last = run.stderr.splitlines()[-1:]
    fix = re.search(
        r"(?:remove|Make room|Delete|delete|Choose|Restore) ?(\S*?)[.:]?(?: |$)", run.stderr
    )
    return run.status == 2 and bool(last) and last[0].startswith("harness: ") and bool(fix)


def content(path: Path) -> bytes | None:
    """The bytes of a file; None of all else."""
    return path.read_bytes() if path.is_file() else None


def as_a_user() -> None:
    """Take root's right to read and write everything from this process."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    libc.capget(header, sets)
    for index in range(2):
        sets[index] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, sets)


# Damages


def flip(path: Path, numbers: random.Random) -> bool:
    data = bytearray(path.read_bytes())
    if data:
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
    path.write_bytes(data)
    return bool(data)


def halve(path: Path, numbers: random.Random) -> bool:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return len(data) > 1


def empty(path: Path, numbers: random.Random) -> bool:
    path.write_bytes(b"")
    return True


def delete(path: Path, numbers: random.Random) -> bool:
    path.unlink()
    return True


def swap(path: Path, numbers: random.Random) -> bool:
    lines = path.read_bytes().split(b"\n")
    pairs = [i for i, line in enumerate(lines[:-2]) if line != lines[i + 1]]
    if not pairs:
        return False
    i = numbers.choice(pairs)
    lines[i], lines[i + 1] = lines[i + 1], lines[i]
    path.write_bytes(b"\n".join(lines))
    return True


def digit(path: Path, numbers: random.Random) -> bool:
    data = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if path.suffix not in (".json", ".jsonl") or not places:
        return False
    i = numbers.choice(places)
    data[i] = 48 + (data[i] - 48 + numbers.randint(1, 9)) % 10
    path.write_bytes(data)
    return True


def answer(path: Path, numbers: random.Random) -> bool:
    data = path.read_bytes()
    for word, other in ((b"Yes", b"No"), (b"yes", b"no"), (b"true", b"false"), (b"first", b"tie")):
        if word in data and path.suffix == ".jsonl":
            path.write_bytes(data.replace(word, other, 1))
            return True
    return False


def exchange(path: Path, numbers: random.Random) -> bool:
    """With a file of the same name elsewhere, or of the same kind beside it."""
    kin = [*path.parents[1].rglob(path.name), *path.parent.glob(f"*{path.suffix}")]
    others = [each for each in kin if each.is_file() and content(each) != content(path)]
    if not others:
        return False
    other = numbers.choice(others)
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)
    return True


def wrong_type(path: Path, numbers: random.Random) -> bool:
    path.write_text(numbers.choice(["[]\n", "{}\n", "null\n", '"text"\n', "[" * 100_000]))
    return path.suffix in (".json", ".jsonl")


def garbage(path: Path, numbers: random.Random) -> bool:
    with path.open("ab") as file:
        file.write(numbers.randbytes(20) + b"\n")
    return True


def as_folder(path: Path, numbers: random.Random) -> bool:
    path.unlink()
    path.mkdir()
    return True


def dangling(path: Path, numbers: random.Random) -> bool:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))
    return True


def forbidden(path: Path, numbers: random.Random) -> bool:
    path.chmod(0)
    return True


DAMAGES: Mapping[str, Damage] = {
    "flip a bit of": flip,
    "halve": halve,
    "empty": empty,
    "delete": delete,
    "swap two lines of": swap,
    "change a digit of": digit,
    "change an answer of": answer,
    "exchange": exchange,
    "give another type to": wrong_type,
    "append garbage to": garbage,
    "put a folder in place of": as_folder,
    "put a dangling link in place of": dangling,
    "forbid reading of": forbidden,
}
