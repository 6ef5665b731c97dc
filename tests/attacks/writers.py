"""Many processes that write one leaderboard, some of them killed: no entry is lost.

Each of `count` processes records entries of its own and says so after each; every eighth is killed
at a random moment. Whatever was said to be recorded is there in the end, the file is whole, and
what the killed ones left goes with the next entry.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from builders import entry

from harness import leaderboard

EACH = 5
"""Entries of a writer."""
START = "start"
"""The file that all wait for."""


def run(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Let `count` processes write at once; return how often each outcome was seen."""
    numbers = random.Random(seed)
    context = multiprocessing.get_context("fork")
    writers: list[BaseProcess] = [
        context.Process(target=_write, args=(folder, number)) for number in range(count)
    ]
    for writer in writers:
        writer.start()
    (folder / START).touch()  # no lock: who is killed while he holds one stops all others
    for writer in writers[::8]:
        time.sleep(numbers.random() / 20)
        if writer.is_alive():
            os.kill(writer.pid or 0, signal.SIGKILL)
    for writer in writers:
        writer.join(300)
    leaderboard.record(folder, entry(model="the last"))
    outcomes: Counter[str] = Counter()
    board = leaderboard.read(leaderboard.board_path(folder, "pope", lab=True))
    kept = {(found.model.name, found.seed) for found in board.entries.values()}
    for number, writer in enumerate(writers):
        if writer.exitcode is None:
            outcomes["hang"] += 1
        elif writer.exitcode > 0:
            outcomes["traceback"] += 1
        elif any((f"writer-{number}", each) not in kept for each in _said(folder, number)):
            outcomes["lost"] += 1
        else:
            outcomes["killed, nothing lost" if writer.exitcode else "all kept"] += 1
    outcomes["lost"] += len(list((folder / "lab").glob(".*.tmp")))
    return dict(outcomes)


def _write(folder: Path, number: int) -> None:
    while not (folder / START).exists():
        time.sleep(0.001)
    for seed in range(EACH):
        leaderboard.record(folder, entry(model=f"writer-{number}", seed=seed))
        with open(folder / f"said-{number}", "a", encoding="utf-8") as said:
            said.write(f"{seed}\n")


def _said(folder: Path, number: int) -> list[int]:
    path = folder / f"said-{number}"
    return [int(line) for line in path.read_text(encoding="utf-8").split()] if path.exists() else []
