"""Whether the numbers of an entry agree with each other, as far as it keeps what they come from.

The primary metric and the `paired` ones are ratios of sums of the packed shares; a category's
metrics are ratios too, over its part of the items. Corpus metrics (BLEU) rest on outputs, which an
entry does not keep: of these only the order of an interval's ends is known.
"""

from collections.abc import Iterator, Mapping, Set

from harness.packing import ROUNDING, Totals, totals
from harness.schema import Entry, Metric

SLACK = 1e-9
"""Share of a number that sums of floats in another order may differ by."""


def contradiction(entry: Entry) -> str | None:
    """The first number of an entry that others of it exclude, with its path; None where all agree.

    Raises `HarnessError` where packed scores are malformed.
    """
    return next(_contradictions(entry), None)


def _contradictions(entry: Entry) -> Iterator[str]:
    for name, packed in [(entry.primary, entry.items), *entry.paired.items()]:
        if name not in entry.metrics:
            yield f"metrics has no '{name}', whose items it keeps"
            continue
        if (packed.n, packed.clusters) != (entry.items.n, entry.items.clusters):
            yield f"paired.{name}: has other items or clusters than the primary metric"
            continue
        yield from _of_items(f"metrics.{name}", entry.metrics[name], totals(packed))
        parts = [metrics[name] for metrics in entry.categories.values() if name in metrics]
        if parts:
            yield from _of_parts(f"categories.*.{name}", parts, entry.metrics[name])
    yield from _intervals("metrics", entry.metrics, {entry.primary, *entry.paired})
    for category, metrics in entry.categories.items():
        yield from _intervals(f"categories.{category}", metrics, set(metrics))


def _of_items(path: str, metric: Metric, found: Totals) -> Iterator[str]:
    """What a metric and the shares that it is the ratio of say otherwise."""
    if metric.n != found.counted:
        yield f"{path}.n is {metric.n}, but {found.counted} of its packed items count"
    value = found.numerator / found.denominator if found.denominator else None
    if value is None or metric.value is None:
        if value is not metric.value:
            yield f"{path}.value is {metric.value}, but its packed items give {value}"
        return
    spread = found.numerator_error + abs(value) * found.denominator_error
    if abs(metric.value - value) > _rounding(value) + spread / abs(found.denominator):
        yield f"{path}.value is {metric.value:g}, but its packed items give {value:.6g}"


def _of_parts(path: str, parts: list[Metric], whole: Metric) -> Iterator[str]:
    """What the categories of a metric and all items say otherwise."""
    count = sum(part.n for part in parts)
    if count != whole.n:
        yield f"{path}.n are {count} together, but the metric's n is {whole.n}"
    values = [part.value for part in parts if part.value is not None]
    if values and whole.value is not None:
        low, high = min(values), max(values)
        if not low - _rounding(low) <= whole.value <= high + _rounding(high):
            yield f"{path}.value are from {low:g} to {high:g}, but the metric's is {whole.value:g}"


def _intervals(path: str, metrics: Mapping[str, Metric], ratios: Set[str]) -> Iterator[str]:
    for name, metric in metrics.items():
        if (metric.low is None) != (metric.high is None):
            yield f"{path}.{name} has one end of an interval only"
        if metric.low is None or metric.high is None:
            continue
        shown = f"[{metric.low:g}, {metric.high:g}]"
        if metric.low > metric.high:
            yield f"{path}.{name}: the interval {shown} ends before it begins"
        elif metric.value is None:
            yield f"{path}.{name} has the interval {shown} of no value"
        # A library that signs for a value has an interval of its own kind: sacrebleu's lies around
        # the mean of its resamplings.
        elif (name in ratios or metric.signature is None) and not (
            metric.low - _rounding(metric.low)
            <= metric.value
            <= metric.high + _rounding(metric.high)
        ):
            yield f"{path}.{name}.value is {metric.value:g}, outside its interval {shown}"


def _rounding(value: float) -> float:
    """The most that a recorded number differs from the one that was computed."""
    return (ROUNDING + SLACK) * abs(value) + 1e-15
