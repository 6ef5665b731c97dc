"""What a leaderboard of 10,000 entries costs: to record one more, and to compare two such files."""

import gc
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from harness import leaderboard
from harness.compare import compare
from harness.leaderboard import Board
from harness.schema import Entry
from tests.benchmarks.measure import (
    Comparison,
    Figure,
    interleaved,
    peak_memory,
    reset_peak_memory,
)
from tests.builders import entry

FEW, MANY, ITEMS = 10, 10_000, 1000
BOUND = 5.0
GOAL = 3.0


def run(rounds: int, clock: Callable[[], float]) -> Iterator[Comparison | Figure]:
    """Entries of 1,000 items of 0 and 1; a twentieth of the items differ between two files."""
    rng = np.random.default_rng(0)
    right = rng.random((MANY, ITEMS)) < 0.7
    changed = right ^ (rng.random((MANY, ITEMS)) < 0.05)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sizes = {name: _made(root / name, right[:size]) for name, size in SIZES.items()}
        _made(root / "changed", changed)
        new = iter(_entries("new", right[: 4 * (rounds + 1)]))
        yield Comparison(
            f"record one entry beside {MANY:,} / beside {FEW}",
            "s",
            *interleaved(
                lambda: leaderboard.record(root / "many", next(new)),
                lambda: leaderboard.record(root / "few", next(new)),
                rounds,
                clock,
            ),
            bound=BOUND,
        )
        yield Figure("its memory", "MiB", [_memory(root / "many", next(new)) for _ in range(3)])
        text = sizes["many"]
        for name, label in (("many", "unchanged"), ("changed", "changed")):
            yield Comparison(
                f"compare {MANY:,} {label} entries / json.loads of both files",
                "s",
                *interleaved(
                    lambda name=name: compare(root / "many", root / name),
                    lambda: [json.loads(text) for _ in range(2)],
                    min(rounds, 3),
                    clock,
                ),
                most=GOAL,
            )


SIZES = {"many": MANY, "few": FEW}


def _made(root: Path, right: np.ndarray) -> str:
    board = Board("pope", True, {each.place: each for each in _entries("m", right)})
    text = leaderboard.dump(board)
    path = leaderboard.board_path(root, board.task, board.lab)
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return text


def _entries(name: str, right: np.ndarray) -> Sequence[Entry]:
    return [entry(row.astype(float), model=f"{name}{i:05d}") for i, row in enumerate(right)]


def _memory(root: Path, new: Entry) -> float:
    gc.collect()
    before = reset_peak_memory()
    leaderboard.record(root, new)
    return peak_memory() - before
