"""Progress on a terminal: what runs, its latest loss, items per second, time left."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from harness.processes import is_main
from harness.schema import Entry

log = logging.getLogger("harness")


class Quiet:
    """Reports to the run's log alone."""

    def step(self, what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Log a step."""
        shown = " ".join(f"{name}={value:.4g}" for name, value in figures.items())
        log.debug("%s %d/%d %s", what, done, total, shown)

    def recorded(self, entry: Entry, outcome: str) -> None:
        """Log an entry."""
        log.info("%s: %s: %s", entry.task.name, entry.place, outcome)


class Bars(Quiet):
    """One bar for each part of the run."""

    def __init__(self, bars: object) -> None:
        self.bars = bars
        self.ids: dict[str, object] = {}

    def step(self, what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Move a bar."""
        super().step(what, done, total, figures)
        if what not in self.ids:
            self.ids[what] = self.bars.add_task(what, total=total, loss="")  # type: ignore[attr-defined]
        loss = f"loss {figures['loss']:.4f}" if "loss" in figures else ""
        fields = {"loss": loss} if loss else {}
        self.bars.update(self.ids[what], completed=done, total=total, **fields)  # type: ignore[attr-defined]


@contextmanager
def progress(quiet: bool) -> Iterator[Quiet]:
    """A reporter: bars on standard error where that is a terminal, else the log alone."""
    if quiet or not is_main() or not sys.stderr.isatty():
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bars:
        yield Bars(bars)
