"""Runs of the five methods killed at random: the same command then comes to the same bytes.

An attempt kills a run at a random one of its events on files (opening, renaming, removing, making
a folder), or at a random moment, up to three times in a row, and then lets the command end.
"""

import os
import random
import shutil
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from tests.attacks.commands import COMMANDS, leaderboards
from tests.harness import launch

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink")
TIMES = 3
"""How often a run is killed at most before it is left alone."""
LONGEST = 300.0
"""Seconds after which a run hangs."""


def run(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill `count` runs, the five methods in turn; return how often each outcome was seen."""
    numbers = random.Random(seed)
    outcomes: Counter[str] = Counter()
    whole: dict[str, tuple[dict[str, bytes], int]] = {}
    for attempt in range(count):
        method = list(COMMANDS)[attempt % len(COMMANDS)]
        if method not in whole:
            whole[method] = _undisturbed(method, folder / method)
        outcome = _attempt(method, *whole[method], numbers, folder / f"attempt-{attempt}")
        outcomes[outcome] += 1
        print(f"{attempt} {method}: {outcome}", flush=True)
    return dict(outcomes)


def _undisturbed(method: str, folder: Path) -> tuple[dict[str, bytes], int]:
    """The leaderboards of a run that nobody killed, and its number of events."""
    trace = folder / "events"
    before = partial(at_events, str(trace))
    done = launch.start(COMMANDS[method], folder, before=before).end(LONGEST)
    assert done.status == 0, done.stderr
    return leaderboards(folder), trace.stat().st_size


def _attempt(
    method: str, right: dict[str, bytes], events: int, numbers: random.Random, folder: Path
) -> str:
    killed = 0
    for _ in range(numbers.randint(1, TIMES)):
        before = partial(at_events, "", numbers.randrange(events))
        killed += launch.start(COMMANDS[method], folder, before=before).end(LONGEST).status < 0
    try:
        done = launch.start(COMMANDS[method], folder).end(LONGEST)
    except AssertionError:
        return "hang"
    if done.status:
        print(done.stderr[-2000:])
        return "traceback" if "Traceback" in done.stderr else "unfinished"
    if leaderboards(folder) != right:
        return "differs"
    left = list(folder.rglob("*.tmp"))
    shutil.rmtree(folder)
    if left:
        print(*left, sep="\n")
        return "lost"
    return f"same bytes after {killed} kills"


def at_events(trace: str, last: int = -1) -> None:
    """Write a byte to `trace` at each event on a file below this folder; be killed at one."""
    here = os.getcwd() + os.sep
    out = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if trace else -1
    number = 0

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal number
        if name not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.join(here, os.fsdecode(arguments[0]))
        if not path.startswith(here) or os.path.basename(path).startswith("events"):
            return
        if out >= 0:
            os.write(out, b".")
        elif number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        number += 1

    sys.addaudithook(hook)
