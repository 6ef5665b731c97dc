"""Intervals of metrics that are a ratio of sums over items, and what their tests share.

Items enter as arrays `num` and `den`, [items], and `clusters`, [items] integers: items of one
cluster (questions on one picture) are not independent, so that clusters are what counts. Without
`clusters` each item is its own. Everything is a pure function of its arguments, without chance.

`tests/calibration/RESULTS.md` has the simulated coverage of every interval and the rate at which
every test rejects where nothing differs.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.proportions import quantile, wilson

Floats = NDArray[np.float64]

FEW = 15
"""Fewer independent clusters than this make an interval rough."""
SKEWED = 0.15
"""A sampling distribution with more skewness than this is not yet normal."""
LEAST = 5
"""Fewer successes or failures than this make the interval of a share rough."""


class Spread(NamedTuple):
    """How far a ratio, or a difference of two, may lie from the truth by its choice of items."""

    variance: float
    freedom: float
    """Degrees of freedom of the variance."""
    skew: float
    """Skewness of the value's sampling distribution, estimated; without sign."""

    @property
    def rough(self) -> bool:
        """Whether the normal theory behind a t interval is far from what the items look like."""
        return self.freedom + 1 < FEW or self.skew > SKEWED


def ratio(num: ArrayLike, den: ArrayLike) -> float | None:
    """sum(num) / sum(den); None for 0 / 0."""
    total = float(np.sum(den))
    return float(np.sum(num)) / total if total else None


def interval(
    num: ArrayLike, den: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[float, float] | None:
    """95 % interval of a ratio of sums.

    Where every cluster's share is within 0 and 1: Wilson's score interval (1927) with the
    effective number of items, value (1 - value) / variance, and Student's t (Dean and Pagano
    2015). Else the value -+ t standard errors. The variance is the delete-one-cluster jackknife's,
    its degrees of freedom the effective number of clusters less one (`spread`). A share of 0 or 1
    has the effective number of clusters.

    None for fewer than two clusters, for 0 / 0, and where every cluster has the same ratio and
    that is no share of 0 or 1.
    """
    return _estimate(num, den, clusters)[0]


def is_rough(num: ArrayLike, den: ArrayLike, clusters: ArrayLike | None = None) -> bool:
    """Whether `interval` covers less, or more, than it says: too little data, or too uneven.

    For shares: fewer than 5 effective successes or failures. Else: fewer than 15 effective
    clusters, or a few that decide the value.
    """
    return _estimate(num, den, clusters)[1]


def _estimate(
    num: ArrayLike, den: ArrayLike, clusters: ArrayLike | None
) -> tuple[tuple[float, float] | None, bool]:
    sums = cluster_sums(np.stack([floats(num), floats(den)], axis=1), clusters)
    sums = sums[sums.any(axis=1)]
    value = ratio(sums[:, 0], sums[:, 1])
    if value is None or len(sums) < 2:
        return None, True
    shares = bool(((sums[:, 0] >= 0) & (sums[:, 0] <= sums[:, 1])).all())
    if shares and value in (0.0, 1.0):
        effective = _effective(sums[:, 1] / sums[:, 1].sum())
        return wilson(value, effective, quantile()), _few(value, effective)
    found = spread(leave_one_out(sums), sums[:, 1] / sums[:, 1].sum())
    if found is None or found.variance <= 1e-30:
        return None, True
    t = quantile(found.freedom)
    if shares:
        effective = value * (1 - value) / found.variance
        return wilson(value, effective, t), _few(value, effective)
    half = t * float(np.sqrt(found.variance))
    return (value - half, value + half), found.rough


def leave_one_out(sums: Floats) -> Floats:
    """Ratios without one cluster each: [clusters, (num, den)] -> [clusters]; NaN for 0 / 0."""
    num, den = (column.sum() - column for column in (sums[:, 0], sums[:, 1]))
    return np.divide(num, den, out=np.full(len(sums), np.nan), where=np.abs(den) > 1e-300)


def spread(left: Floats, weights: Floats) -> Spread | None:
    """The jackknife's spread of a value (Efron 1982) from its values without one cluster each.

    Args:
        left: [clusters]
        weights: [clusters], each cluster's share of the whole; sum 1. Their effective number
            (Kish), 1 / sum of squares, less one is the variance's degrees of freedom: a large
            cluster decides the variance as it decides the value (compare Carter, Schnepel and
            Steigerwald 2017).

    None where a value is undefined.
    """
    count = len(left)
    if count < 2 or not np.isfinite(left).all():
        return None
    deviations = left - left.mean()
    squares = float(np.square(deviations).sum())
    skew = abs(float((deviations**3).sum())) / squares**1.5 if squares > 1e-30 else 0.0
    return Spread((count - 1) / count * squares, max(1.0, _effective(weights) - 1), skew)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values, in the order given: the family-wise error is kept."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def codes(names: Sequence[Any]) -> NDArray[np.int64]:
    """Number names from 0 in their order; equal names have one number.

    A numpy array of strings would be as wide as the longest of them in every row.
    """
    number = {name: code for code, name in enumerate(sorted(set(names)))}
    return np.fromiter((number[name] for name in names), np.int64, len(names))


def floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def cluster_sums(columns: Floats, clusters: ArrayLike | None) -> Floats:
    """[items, columns] -> [clusters, columns]."""
    if clusters is None:
        return columns
    names = clusters if isinstance(clusters, np.ndarray) else codes(list(clusters))  # type: ignore[arg-type]
    numbers = np.unique(names, return_inverse=True)[1]
    return np.stack([np.bincount(numbers, column) for column in columns.T], axis=1)


def _effective(weights: Floats) -> float:
    return float(1 / np.square(weights).sum())


def _few(value: float, effective: float) -> bool:
    return effective * min(value, 1 - value) < LEAST
