"""Progress on a terminal: what runs, its latest loss, items per second, time left."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.processes import is_main
from harness.schema import Entry
from harness.shown import shown

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger("harness")


class Quiet:
    """Reports to the run's log alone."""

    def __init__(self) -> None:
        self.shown: dict[str, Sequence[str]] = {}
        """What -> outputs to look at when all is done."""

    def step(self, what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Log a step."""
        shown = " ".join(f"{name}={value:.4g}" for name, value in figures.items())
        log.debug("%s %d/%d %s", what, done, total, shown)

    def recorded(self, entry: Entry, outcome: str) -> None:
        """Log an entry."""
        log.info("%s: %s: %s", entry.task.name, entry.place, outcome)

    def examples(self, what: str, lines: Sequence[str]) -> None:
        """Keep a few outputs for the end."""
        self.shown[what] = lines


class Bars(Quiet):
    """A bar for what runs now; what is done stays as a line above it."""

    def __init__(self, bars: "Progress") -> None:
        super().__init__()
        self.bars = bars
        self.ids: dict[str, TaskID] = {}

    def step(self, what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Move a bar, or turn it into a line at its end."""
        super().step(what, done, total, figures)
        if what not in self.ids:
            self.ids[what] = self.bars.add_task(
                shown(what), total=total, loss="", speed="", saved=""
            )
        bar = self.ids[what]
        self.bars.update(bar, completed=done, total=total)
        task = next(task for task in self.bars.tasks if task.id == bar)
        if "loss" in figures:
            self.bars.update(bar, loss=f"loss {figures['loss']:.4f}")
        if "saved_mib" in figures:
            self.bars.update(bar, saved=f"saved steps of {figures['saved_mib']:,.1f} MiB")
        if task.elapsed:
            self.bars.update(bar, speed=f"{done / task.elapsed:.1f}/s")
        if done >= total and task.visible:
            self.bars.update(bar, visible=False)
            fields = [
                f"{total:,} in {task.elapsed or 0:.1f} s",
                *filter(None, task.fields.values()),
            ]
            self.bars.console.print(
                f"{shown(what)}: {', '.join(fields)}", highlight=False, markup=False
            )


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
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[saved]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield Bars(bars)
