"""Intervals and paired tests for metrics that are a ratio of sums over items.

Items enter as arrays `num` and `den`, [items], and `clusters`, [items] integers: items of one
cluster (questions on one picture) are not independent, so whole clusters are resampled or swapped.
Without `clusters` each item is its own. Everything is a pure function of its arguments: random
draws come from a generator with a fixed seed. Differences are b - a.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
POWER = 0.8
SEED = 20250117
BOOTSTRAP_DRAWS = 2000
PERMUTATION_DRAWS = 10_000
EXACT_CLUSTERS = 14
"""Up to here all 2^n swaps are tried."""
BLOCK = 4_000_000
"""Most numbers that one block of random weights holds."""


class Difference(NamedTuple):
    """A paired difference b - a with its 95 % interval."""

    value: float
    low: float | None
    high: float | None
    """None where there is nothing to estimate a spread from."""
    error: float
    """Standard error, linearized."""


def ratio(num: ArrayLike, den: ArrayLike) -> float | None:
    """sum(num) / sum(den); None for 0 / 0."""
    total = float(np.sum(den))
    return float(np.sum(num)) / total if total else None


def interval(
    num: ArrayLike, den: ArrayLike, clusters: ArrayLike | None = None
) -> tuple[float, float] | None:
    """95 % interval of a ratio of sums.

    Percentile bootstrap over clusters: the one method that fits means, F1 and clustered items
    alike. Where it fails the Wilson interval (1927) takes its place: for a plain proportion (0 / 1
    per item, no clusters), since the bootstrap claims certainty near 0 and 1, and for a proportion
    that is 0 or 1 in every cluster, with clusters as items. None for fewer than two clusters, for
    0 / 0, and where every cluster has the same ratio and that is no proportion at its end.
    """
    sums = _cluster_sums(np.stack([_floats(num), _floats(den)], axis=1), clusters)
    sums = sums[sums.any(axis=1)]
    value = ratio(sums[:, 0], sums[:, 1])
    if value is None or len(sums) < 2:
        return None
    within = bool(((sums[:, 0] >= 0) & (sums[:, 0] <= sums[:, 1])).all())
    plain = bool((sums[:, 1] == 1).all() and np.isin(sums[:, 0], (0, 1)).all())
    if plain or (within and value in (0.0, 1.0)):
        return _wilson(value, len(sums))
    return _percentiles(_divide(*_bootstrap(sums).T))


def standard_error(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    clusters: ArrayLike | None = None,
) -> float | None:
    """Standard error of the paired difference of two ratios, linearized (Taylor) over clusters.

    None where a ratio is undefined or there are fewer than two clusters.
    """
    sums = _paired_sums(num_a, den_a, num_b, den_b, clusters)
    a, b = ratio(sums[:, 0], sums[:, 1]), ratio(sums[:, 2], sums[:, 3])
    count = len(sums)
    if a is None or b is None or count < 2:
        return None
    influence = (sums[:, 2] - b * sums[:, 3]) / sums[:, 3].sum()
    influence -= (sums[:, 0] - a * sums[:, 1]) / sums[:, 1].sum()
    return float(np.sqrt(count / (count - 1) * np.square(influence).sum()))


def paired_difference(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    clusters: ArrayLike | None = None,
) -> Difference | None:
    """Difference of two ratios over the same items, percentile bootstrap over clusters.

    None where a ratio is undefined or there are fewer than two clusters.
    """
    error = standard_error(num_a, den_a, num_b, den_b, clusters)
    if error is None:
        return None
    sums = _paired_sums(num_a, den_a, num_b, den_b, clusters)
    total = sums.sum(axis=0)
    value = float(total[2] / total[3] - total[0] / total[1])
    draws = _bootstrap(sums)
    bounds = _percentiles(_divide(draws[:, 2], draws[:, 3]) - _divide(draws[:, 0], draws[:, 1]))
    low, high = bounds or (None, None)
    return Difference(value, low, high, error)


def smallest_detectable(error: float) -> float | None:
    """Smallest true difference that a two-sided 5 % test finds with 80 % power (normal).

    From the standard error of the paired difference; None where that is 0.
    """
    normal = NormalDist()
    factor = normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(POWER)
    return factor * error if error > 0 else None


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> float:
    """Two-sided exact McNemar test of paired 0 / 1 scores, [items] each; p = 1 without discord."""
    side_a, side_b = _floats(a), _floats(b)
    only_a = int(np.sum(side_a > side_b))
    only_b = int(np.sum(side_b > side_a))
    discordant, fewer = only_a + only_b, min(only_a, only_b)
    if discordant == 0:
        return 1.0
    # log C(n, k) - n log 2 for k = 0 .. fewer, summed from the largest down.
    k = np.arange(1, fewer + 1)
    steps = np.concatenate([[0.0], np.cumsum(np.log((discordant - k + 1) / k))])
    log_pmf = steps - discordant * np.log(2)
    return min(1.0, 2 * float(np.exp(log_pmf).sum()))


def paired_permutation(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    clusters: ArrayLike | None = None,
) -> float | None:
    """Two-sided p of the difference of two ratios: the sides are swapped cluster by cluster.

    All swaps for up to 14 clusters that differ, else 10,000 random ones with one added to both
    counts (Phipson and Smyth 2010). A swap that leaves a side undefined counts as extreme. None
    where a ratio is undefined as observed.
    """
    sums = _paired_sums(num_a, den_a, num_b, den_b, clusters)
    middle = (sums[:, :2] + sums[:, 2:]).sum(axis=0) / 2
    halves = (sums[:, 2:] - sums[:, :2]) / 2
    halves = halves[halves.any(axis=1)]
    observed = _swapped_difference(middle, halves.sum(axis=0, keepdims=True))[0]
    if not np.isfinite(observed):
        return None
    if len(halves) == 0:
        return 1.0
    exact = len(halves) <= EXACT_CLUSTERS
    totals = _all_signs(len(halves)) @ halves if exact else _random_signs(halves)
    differences = np.abs(_swapped_difference(middle, totals))
    extreme = int(np.sum(~(differences < abs(observed) * (1 - 1e-9) - 1e-15)))
    return extreme / len(totals) if exact else (1 + extreme) / (1 + len(totals))


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


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _paired_sums(
    num_a: ArrayLike,
    den_a: ArrayLike,
    num_b: ArrayLike,
    den_b: ArrayLike,
    clusters: ArrayLike | None,
) -> Floats:
    columns = [_floats(side) for side in (num_a, den_a, num_b, den_b)]
    return _cluster_sums(np.stack(columns, axis=1), clusters)


def _cluster_sums(columns: Floats, clusters: ArrayLike | None) -> Floats:
    """[items, columns] -> [clusters, columns]."""
    if clusters is None:
        return columns
    names = clusters if isinstance(clusters, np.ndarray) else codes(list(clusters))  # type: ignore[arg-type]
    numbers = np.unique(names, return_inverse=True)[1]
    return np.stack([np.bincount(numbers, column) for column in columns.T], axis=1)


def _wilson(value: float, n: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    center = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def _divide(num: Floats, den: Floats) -> Floats:
    """num / den, NaN where den is 0."""
    quotient: Floats = np.divide(num, den, out=np.full(num.shape, np.nan), where=den != 0)
    return quotient


def _percentiles(draws: Floats) -> tuple[float, float] | None:
    """Middle 95 % of the draws that are defined; None where half are not or none differ."""
    defined = draws[np.isfinite(draws)]
    if len(defined) < len(draws) / 2 or np.ptp(defined) <= 1e-12 * np.abs(defined).max():
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _bootstrap(sums: Floats) -> Floats:
    """Sums over resampled clusters: [clusters, columns] -> [draws, columns].

    Equal clusters are drawn together, as one multinomial: scores of 0 and 1 have few kinds.
    """
    rng = np.random.default_rng(SEED)
    kinds, counts = np.unique(sums, axis=0, return_counts=True)
    if 8 * len(kinds) <= len(sums) or len(sums) <= 64:
        shares = counts / len(sums)
        block = max(1, BLOCK // len(kinds))
        sizes = [min(block, BOOTSTRAP_DRAWS - at) for at in range(0, BOOTSTRAP_DRAWS, block)]
        return np.concatenate([rng.multinomial(len(sums), shares, size) @ kinds for size in sizes])
    if BOOTSTRAP_DRAWS * len(sums) <= 2 * BLOCK:
        return _draws(len(sums)) @ sums
    return np.stack([drawn @ sums for drawn in _resamplings(len(sums))])


def _resamplings(clusters: int) -> Iterator[Floats]:
    """How often each cluster is drawn, [clusters], once per draw."""
    rng = np.random.default_rng(SEED)
    for _ in range(BOOTSTRAP_DRAWS):
        drawn = rng.integers(0, clusters, clusters, dtype=np.uint32)
        yield np.bincount(drawn, minlength=clusters).astype(np.float64)


@lru_cache(maxsize=8)
def _draws(clusters: int) -> Floats:
    """All resamplings at once, [draws, clusters]: the metrics of a task share them."""
    return np.stack(list(_resamplings(clusters)))


def _swapped_difference(middle: Floats, totals: Floats) -> Floats:
    """Difference of ratios for signed sums of half differences, [swaps, 2] -> [swaps]."""
    side_a, side_b = middle - totals, middle + totals
    return _divide(side_b[:, 0], side_b[:, 1]) - _divide(side_a[:, 0], side_a[:, 1])


def _all_signs(count: int) -> Floats:
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    return np.where(bits, -1.0, 1.0)


def _random_signs(halves: Floats) -> Floats:
    """Sums of `halves`, [clusters, 2], under random signs: [draws, 2].

    Clusters equal up to their sign are drawn together, as one binomial.
    """
    rng = np.random.default_rng(SEED)
    first = np.where(halves[:, 0] != 0, halves[:, 0], halves[:, 1])
    kinds, counts = np.unique(halves * np.sign(first)[:, None], axis=0, return_counts=True)
    if 8 * len(kinds) <= len(halves):
        heads = rng.binomial(counts, 0.5, (PERMUTATION_DRAWS, len(kinds)))
        return (2.0 * heads - counts) @ kinds
    block = max(1, BLOCK // len(halves))
    sums = []
    for start in range(0, PERMUTATION_DRAWS, block):
        shape = (min(block, PERMUTATION_DRAWS - start), len(halves))
        bits = np.unpackbits(rng.integers(0, 256, -(-shape[0] * shape[1] // 8), dtype=np.uint8))
        heads = bits[: shape[0] * shape[1]].reshape(shape).astype(np.float64)
        sums.append(2 * (heads @ halves) - halves.sum(axis=0))
    return np.concatenate(sums)
