"""How long a user waits for the first word of the command line, beside lm-eval's."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

from tests.benchmarks.measure import Comparison, interleaved

GOAL = 0.3
COMMANDS = (
    ("help", "harness --help", "lm_eval --help"),
    ("list of tasks", "harness list tasks", "lm_eval ls tasks"),
    (
        "a mistyped task",
        "harness run --method base --tasks mmbnch",
        "lm_eval run --model dummy --tasks hellaswagg",
    ),
)
PEER_ROUNDS = 3
"""The peer takes ten seconds and more."""


def run(rounds: int, clock: Callable[[], float]) -> Iterator[Comparison]:
    """Each command to its end, in a process of its own: always by the clock on the wall."""
    if _script("lm_eval") is None:
        print("start-up: lm_eval is not installed; nothing to compare with", file=sys.stderr)
        return
    for what, ours, peer in COMMANDS:
        seconds = interleaved(
            lambda line=ours: _run(line),
            lambda line=peer: _run(line),
            min(rounds, PEER_ROUNDS),
            time.perf_counter,
        )
        yield Comparison(f"start-up: {what}", "s", *seconds, most=GOAL)


def _script(name: str) -> str | None:
    """A console script of this Python's environment."""
    return which(name, path=str(Path(sys.executable).parent))


def _run(line: str) -> None:
    name, *arguments = line.split()
    subprocess.run(
        [str(_script(name)), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
