"""Paired tests of corpus metrics between two systems, from the statistics of their segments."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Statistics = NDArray[Any]
"""What a metric counts of each segment, [segments, statistics]."""


def approximate_randomization(
    score: Callable[[Statistics], float], a: Statistics, b: Statistics, trials: int, seed: int
) -> float:
    """Two-sided p of the difference of two systems' scores (Riezler and Maxwell 2005).

    Segments are swapped between the systems; counted is how often that leaves a difference at
    least as large. sacrebleu counts larger ones alone, so that with one changed segment of sixty,
    where every swap gives the same difference, it says p < 0.001 and not 1. Where nothing ties,
    and with sacrebleu's seed, p is sacrebleu's.

    Args:
        score: of summed statistics.
        a, b: statistics of either system's segments.
        trials: random swaps; where the segments that differ have fewer, all of those.
        seed: of the random swaps.
    """
    differs = np.flatnonzero((a != b).any(axis=1))
    if len(differs) == 0:
        return 1.0
    if 2 ** (len(differs) - 1) <= trials:
        # Swapping the others too gives the same difference: half of the swaps are enough.
        kept = np.zeros((2 ** (len(differs) - 1), len(a)), dtype=bool)
        kept[:, differs] = np.arange(len(kept))[:, None] >> np.arange(len(differs)) & 1
    else:
        rng = np.random.default_rng(seed)
        kept = rng.integers(2, size=(trials, len(a)), dtype=bool)
    first, second = kept @ a + ~kept @ b, ~kept @ a + kept @ b
    found = np.array([abs(score(x) - score(y)) for x, y in zip(first, second, strict=True)])
    observed = abs(score(a.sum(axis=0)) - score(b.sum(axis=0)))
    as_large = int(np.sum(found >= observed * (1 - 1e-9)))
    exact = 2 ** (len(differs) - 1) <= trials
    return as_large / len(found) if exact else (1 + as_large) / (1 + len(found))


def paired_bootstrap(
    score: Callable[[Statistics], float], a: Statistics, b: Statistics, resamples: int, seed: int
) -> float:
    """Two-sided p of the difference of two systems' scores by resampled segments.

    Counted is how often a resampled difference lies at least as far from the observed one as that
    lies from 0 (Efron and Tibshirani 1993, section 16.4). sacrebleu and Moses count how often
    |difference| exceeds its own mean by the observed one, which rejects 14 % of 60 segments at
    5 % where nothing differs (`tests/calibration/RESULTS.md`).

    Args: as of `approximate_randomization`.
    """
    rng = np.random.default_rng(seed)
    draws = rng.choice(len(a), size=(resamples, len(a)), replace=True)
    observed = score(a.sum(axis=0)) - score(b.sum(axis=0))
    if not (a != b).any():
        return 1.0
    found = np.array([score(a[draw].sum(axis=0)) - score(b[draw].sum(axis=0)) for draw in draws])
    as_far = int(np.sum(np.abs(found - observed) >= abs(observed) * (1 - 1e-9)))
    return (1 + as_far) / (1 + resamples)
