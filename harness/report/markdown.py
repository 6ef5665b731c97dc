"""Tables of experiments as Markdown, for a method's card."""

from collections.abc import Sequence

from harness import contrast
from harness.differences import Difference
from harness.schema import Entry
from harness.shown import shown


def head(*cells: str) -> list[str]:
    """The two lines that begin a table."""
    return [row(*cells), "|---" * len(cells) + "|"]


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(shown, cells))} |"


def mean(entries: Sequence[Entry], metric: str) -> float:
    """A metric's mean over entries; what is undefined counts as 0."""
    return sum(entry.metrics[metric].value or 0.0 for entry in entries) / len(entries)


def difference(
    baseline: Sequence[Entry], method: Sequence[Entry], metric: str | None = None
) -> str:
    """Paired difference of a metric (the primary one) in percent with its 95 % interval; bold
    where that holds no zero."""
    return _percent(contrast.difference(baseline, method, metric or baseline[0].primary))


def mean_difference(
    baselines: Sequence[Sequence[Entry]], methods: Sequence[Sequence[Entry]]
) -> str:
    """The same of the mean of several tasks; see `contrast.mean_difference`."""
    return _percent(contrast.mean_difference(baselines, methods))


def _percent(found: Difference | None) -> str:
    if found is None or found.low is None or found.high is None:
        return "0"
    mark = "" if found.low <= 0 <= found.high else "**"
    return f"{mark}{100 * found.value:+.1f}{mark} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
