"""Runs of the five methods on a disk that is too small: one line, nothing lost.

An attempt lets no file grow beyond a size, which is what a full disk looks like from inside, sees
that the run ends with one line, and then that the same command comes to the same bytes with room.
Sizes go from a few bytes to that of the largest file in equal ratios.
"""

import resource
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

from tests.attacks.commands import COMMANDS, leaderboards
from tests.harness import launch

SMALLEST = 1000  # what a message on standard error takes, which is a file here too


def run(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Run the methods in turn at `count` sizes; return how often each outcome was seen."""
    outcomes: Counter[str] = Counter()
    whole: dict[str, tuple[dict[str, bytes], int]] = {}
    for attempt in range(count):
        method = list(COMMANDS)[(attempt + seed) % len(COMMANDS)]
        if method not in whole:
            whole[method] = _undisturbed(method, folder / method)
        right, largest = whole[method]
        size = int(SMALLEST * (largest / SMALLEST) ** ((attempt + 0.5) / count))
        outcome = _attempt(method, size, right, folder / f"attempt-{attempt}")
        outcomes[outcome] += 1
        print(f"{method} {size:,} bytes: {outcome}", flush=True)
    return dict(outcomes)


def _undisturbed(method: str, folder: Path) -> tuple[dict[str, bytes], int]:
    """The leaderboards of a run with room, and the size of its largest file."""
    done = launch.run(COMMANDS[method], folder)
    assert done.status == 0, done.stderr
    return leaderboards(folder), max(path.stat().st_size for path in folder.rglob("*"))


def _attempt(method: str, size: int, right: dict[str, bytes], folder: Path) -> str:
    full = launch.run(COMMANDS[method], folder, before=partial(limit_files, size))
    if full.status != 2 or full.stderr.count("\n") != 1 or "Traceback" in full.stderr:
        print(full.status, full.stderr[-3000:])
        return "traceback" if "Traceback" in full.stderr else "broken line"
    done = launch.run(COMMANDS[method], folder)
    if done.status:
        print(done.stderr[-2000:])
        return "unfinished"
    if leaderboards(folder) != right:
        return "differs"
    shutil.rmtree(folder)
    return "one line, then the same bytes"


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond a size."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
