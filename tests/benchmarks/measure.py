"""Measuring two ways to do one thing against each other on a machine that does others too."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""What counts as time: the clock on the wall, or the processor time of this process, which other
work on the machine stretches far less."""
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "trl",
    "lm-eval",
    "ct-loss",
    "open_clip_torch",
)


@dataclass(frozen=True)
class Comparison:
    """Repeated measurements of one thing: ours and the peer's of one round side by side."""

    what: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float]
    bound: float | None = None
    """Most that the median ratio may be; None: reported only."""
    most: float | None = None
    """Most that ours may be, in its unit; a goal of an idle machine, not checked."""

    @property
    def ratios(self) -> list[float]:
        """Ours / peer of each round: what slows a round down slows both its sides."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def missed(self) -> bool:
        return self.bound is not None and self.ratio > self.bound

    def row(self) -> str:
        """A row of a Markdown table: medians, and the median ratio with its extremes."""
        bound = "-" if self.bound is None else f"<= {self.bound:.3g}" + " **missed**" * self.missed
        if self.most is not None:
            bound = f"goal <= {self.most:g} {self.unit}"
        ours, peer = (f"{median(side):.3g} {self.unit}" for side in (self.ours, self.peer))
        spread = f"{self.ratio:.3f} ({min(self.ratios):.3f} to {max(self.ratios):.3f})"
        return f"| {self.what} | {ours} | {peer} | {spread} | {bound} | {len(self.ratios)} |"


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of what has no peer: recorded, never checked."""

    what: str
    unit: str
    values: Sequence[float]
    missed = False

    def row(self) -> str:
        """A row of a Markdown table: the median with its extremes."""
        low, high = min(self.values), max(self.values)
        value = f"{median(self.values):.3g} ({low:.3g} to {high:.3g}) {self.unit}"
        return f"| {self.what} | {value} | - | - | - | {len(self.values)} |"


HEAD = """\
| what | ours | peer | ratio (min to max) | bound | rounds |
|---|---|---|---|---|---|"""


def interleaved(
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int,
    clock: Callable[[], float],
    warm_up: int = 1,
) -> tuple[list[float], list[float]]:
    """Seconds of both, turn by turn; who begins changes from round to round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(warm_up + rounds):
        taken = [0.0, 0.0]
        for side in (0, 1) if index % 2 == 0 else (1, 0):
            started = clock()
            (ours, peer)[side]()
            taken[side] = clock() - started
        if index >= warm_up:
            seconds[0].append(taken[0])
            seconds[1].append(taken[1])
    return seconds


def reset_peak_memory() -> float:
    """Forget this process's peak of resident memory; what it holds now, in MiB (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def peak_memory() -> float:
    """This process's peak of resident memory since `reset_peak_memory`, in MiB."""
    return _status("VmHWM")


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def machine(threads: int) -> str:
    """The processor, the threads torch uses and the versions measured, as Markdown."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"{_processor()}, {threads} threads; Python {platform.python_version()}, {versions}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()
