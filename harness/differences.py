"""Paired differences of two sides over the same items, with the spread of items and of seeds."""

from collections.abc import Sequence
from functools import lru_cache
from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from harness.proportions import LEVEL, POWER, quantile, root
from harness.stats import Floats, cluster_sums, leave_one_out, ratio, spread

DRAWS = 20_000
SEED = 20250117
LEAST = 1e-30
"""A variance below is none."""


class Part(NamedTuple):
    """A source of error: its variance, and the degrees of freedom of that."""

    variance: float
    freedom: float


class Difference(NamedTuple):
    """A difference b - a with its 95 % interval and two-sided p; they always agree."""

    value: float
    low: float | None
    high: float | None
    """None where neither items nor seeds differ."""
    error: float
    p: float
    parts: tuple[Part, ...]
    """Items, then seeds."""
    both: float
    """Variance that items' and seeds' parts have in common."""
    rough: bool
    """Whether few clusters, or few among many, decide it."""

    def detectable(self, alpha: float) -> float | None:
        """Smallest true difference that a test at level alpha finds with 80 % power.

        For errors that are normal and as large as estimated here, with the chance that is in such
        estimates: two seeds find little. None where nothing differs.
        """
        import scipy.special

        if self.error == 0:
            return None
        if len(self.parts) == 1:
            freedom = self.parts[0].freedom
            t = quantile(freedom, 1 - alpha)
            return self.error * float(scipy.special.nctdtrinc(freedom, 1 - POWER, t))
        total, squares, largest = np.zeros((3, DRAWS))
        for variance, freedom in self.parts:
            drawn = variance * _variances(freedom)
            total += drawn
            squares += quantile(freedom, 1 - alpha) ** 2 * drawn
            largest = np.maximum(largest, drawn)
        shrink = np.maximum(total - self.both, largest) / total
        needed = np.sqrt(shrink * squares) - self.error * _errors()
        return float(np.quantile(needed, POWER))


@lru_cache(maxsize=64)
def _variances(freedom: float) -> Floats:
    """Estimates of a variance of 1, [draws]."""
    return np.random.default_rng([SEED, int(freedom)]).chisquare(freedom, DRAWS) / freedom


@lru_cache(maxsize=1)
def _errors() -> Floats:
    """Errors of a standard deviation of 1, [draws]."""
    return np.random.default_rng(SEED).standard_normal(DRAWS)


class Task(NamedTuple):
    """Both sides' shares of a metric over the same items, each [seeds, items]."""

    num_a: ArrayLike
    den_a: ArrayLike
    num_b: ArrayLike
    den_b: ArrayLike
    clusters: ArrayLike | None
    """[items] integers."""


def paired_difference(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    clusters: ArrayLike | None = None,
    matched: bool = False,
) -> Difference | None:
    """Difference of two ratios, each side [seeds, items] or [items], averaged over its seeds.

    See `mean_difference`.
    """
    return mean_difference([Task(num_a, den_a, num_b, den_b, clusters)], matched)


def mean_difference(tasks: Sequence[Task], matched: bool) -> Difference | None:
    """Difference of the mean of several tasks' ratios, every task counting alike.

    The error has two parts. Items: the jackknife over clusters of the averages over seeds
    (`stats.spread`); the items of different tasks are independent. Seeds: the variance of the
    per-seed means over their number, of the per-seed differences where the sides are `matched`:
    row i of every task and both sides is of the same seed. A side with one row counts as fixed.
    What varies by seed and item at once is in both parts and is taken off once (Cameron, Gelbach
    and Miller 2011), the whole being no less than either part.

    The interval is -+ sqrt(sum of t^2 variance) over the parts, each with its own Student's t
    (Banerjee 1960): at least 95 % whatever the parts' sizes, where Satterthwaite's degrees of
    freedom give 88 % with two seeds. None where a ratio is undefined or a task has fewer than two
    clusters.
    """
    found = [_of_task(task, matched) for task in tasks]
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    scale = len(tasks) ** 2
    sides = [np.mean([each.rows[side] for each in known], axis=0) for side in (0, 1)]
    runs = [sides[1] - sides[0]] if matched else sides
    return _difference(
        value=float(np.mean([each.value for each in known])),
        items=[Part(each.items.variance / scale, each.items.freedom) for each in known],
        seeds=[
            Part(float(np.var(run, ddof=1)) / len(run), len(run) - 1)
            for run in runs
            if len(run) > 1
        ],
        residual=sum(each.residual for each in known) / scale,
        clusters=sum(each.clusters for each in known),
        rough=any(each.rough for each in known),
    )


def _difference(
    value: float,
    items: Sequence[Part],
    seeds: Sequence[Part],
    residual: float,
    clusters: int,
    rough: bool,
) -> Difference:
    """A difference with its interval and p, from its sources of error."""
    within, between = (sum(part.variance for part in some) for some in (items, seeds))
    parts = tuple(part for part in [*items, *seeds] if part.variance > LEAST)
    if not parts:
        # Every cluster differs alike: the sign test.
        p = 1.0 if abs(value) < 1e-12 else 2.0 ** (1 - clusters)
        return Difference(value, None, None, 0.0, p, (), 0.0, rough=True)
    variance = max(within + between - residual, within, between)
    shrink = variance / (within + between)
    half = _half(parts, shrink, 1 - LEVEL)
    p = _p(parts, shrink, value)
    error = float(np.sqrt(variance))
    return Difference(value, value - half, value + half, error, p, parts, residual, rough)


class _OfTask(NamedTuple):
    value: float
    rows: tuple[Floats, Floats]
    """Each side's values, [seeds]."""
    items: Part
    residual: float
    """Variance that is in the items' part and in the seeds'."""
    clusters: int
    rough: bool


def _of_task(task: Task, matched: bool) -> _OfTask | None:
    # [seeds, clusters, (num, den)] of either side.
    sides = [_by_seed(num, den, task.clusters) for num, den in (task[:2], task[2:4])]
    counted = np.any([side.any(axis=(0, 2)) for side in sides], axis=0)
    sides = [side[:, counted] for side in sides]
    rows = [np.array([_ratio(sums) for sums in side]) for side in sides]
    means = [side.mean(axis=0) for side in sides]
    value = _ratio(means[1]) - _ratio(means[0])
    if not np.isfinite([value, *rows[0], *rows[1]]).all():
        return None
    weights = np.mean([sums[:, 1] / sums[:, 1].sum() for sums in means], axis=0)
    left = [leave_one_out(sums) for sums in means]
    found = spread(left[1] - left[0], weights)
    if found is None:
        return None
    by_seed = [np.stack([leave_one_out(sums) for sums in side]) for side in sides]
    apart = [by_seed[1] - by_seed[0]] if matched else by_seed
    residual = sum(_residual(each) for each in apart if len(each) > 1)
    items = Part(found.variance, found.freedom)
    return _OfTask(value, (rows[0], rows[1]), items, residual, len(left[0]), found.rough)


def _by_seed(num: ArrayLike, den: ArrayLike, clusters: ArrayLike | None) -> Floats:
    rows = zip(*(np.atleast_2d(np.asarray(side, np.float64)) for side in (num, den)), strict=True)
    return np.stack([cluster_sums(np.stack(row, axis=1), clusters) for row in rows])


def _ratio(sums: Floats) -> float:
    value = ratio(sums[:, 0], sums[:, 1])
    return np.nan if value is None else value


def _residual(left: Floats) -> float:
    """Variance of what varies by seed and cluster at once, of values without one cluster each.

    [seeds, clusters] -> a part of the variance of their mean over seeds.
    """
    seeds, clusters = left.shape
    apart = left - left.mean(axis=1, keepdims=True)
    apart -= apart.mean(axis=0)
    scale = (clusters - 1) / clusters / (seeds * (seeds - 1))
    found = scale * float(np.square(apart).sum())
    return found if np.isfinite(found) else 0.0


def _half(parts: Sequence[Part], shrink: float, alpha: float) -> float:
    """Half the width of the interval at level 1 - alpha."""
    squares = (quantile(part.freedom, 1 - alpha) ** 2 * part.variance for part in parts)
    return float(np.sqrt(shrink * sum(squares)))


def _p(parts: Sequence[Part], shrink: float, value: float) -> float:
    """The alpha whose interval just reaches 0."""
    import scipy.special

    def half(alpha: float) -> float:
        t = [float(scipy.special.stdtrit(part.freedom, alpha / 2)) for part in parts]
        squares = (each**2 * part.variance for each, part in zip(t, parts, strict=True))
        return float(np.sqrt(shrink * sum(squares)))

    if len(parts) == 1:
        t = abs(value) / np.sqrt(shrink * parts[0].variance)
        return 2 * float(scipy.special.stdtr(parts[0].freedom, -t))
    smallest = 1e-100
    if half(smallest) <= abs(value):
        return smallest
    return exp(root(lambda log: half(exp(log)) - abs(value), np.log(smallest), 0.0))
