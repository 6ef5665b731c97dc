"""Shares of items that are right or wrong: an interval of one, the paired test of two."""

from collections.abc import Callable
from functools import lru_cache
from math import erfc, inf, sqrt

import numpy as np

LEVEL = 0.95
POWER = 0.8
FEW = 10
"""Fewer items than this that differ make a paired test of shares rough."""
TINY = 1e-12
"""Least variance that is divided by."""


@lru_cache(maxsize=4096)
def quantile(freedom: float = inf, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t; of the normal distribution by default."""
    import scipy.special

    return float(scipy.special.stdtrit(freedom, (1 + level) / 2))


def wilson(value: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of n items, at a quantile z."""
    center = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def root(function: Callable[[float], float], low: float, high: float, steps: int = 45) -> float:
    """Where a monotone function is 0, by bisection: scipy.optimize takes half a second to load."""
    rising = function(high) > 0
    for _ in range(steps):
        middle = (low + high) / 2
        if (function(middle) > 0) == rising:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of McNemar's score test (1947), without a correction for continuity.

    Args:
        only_a, only_b: items that one side alone has right.

    The exact conditional test keeps far below its level, and this one never far above: at most
    5.4 % at 5 % (Fagerland, Lydersen and Laake 2013). It is the test that `tango` inverts.
    """
    discordant = only_a + only_b
    return erfc(abs(only_b - only_a) / sqrt(2 * discordant)) if discordant else 1.0


@lru_cache(maxsize=4096)
def tango(only_a: int, only_b: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Score interval (Tango 1998) of the difference of two shares, b - a, over n paired items.

    It holds 0 exactly where `mcnemar` does not reject.
    """
    z, value = quantile(level=level), (only_b - only_a) / n

    def score(difference: float) -> float:
        """How many standard errors the observed difference lies above a true one."""
        middle = -only_b - only_a + (2 * n - only_b + only_a) * difference
        constant = -only_a * difference * (1 - difference)
        far = sqrt(max(0.0, middle * middle - 8 * n * constant))
        variance = n * (2 * (far - middle) / (4 * n) + difference * (1 - difference))
        gap = only_b - only_a - n * difference
        return gap / sqrt(max(variance, TINY))

    def end(sign: int) -> float:
        if value == sign:
            return value
        return root(lambda d: score(d) + sign * z, value, sign)

    return end(-1), end(1)


@lru_cache(maxsize=4096)
def detectable(discordant: int, n: int, alpha: float) -> float | None:
    """Smallest true difference that `mcnemar` at level alpha finds with 80 % power.

    The exact power, discreteness included, where as many items as observed differ between the
    sides, or as many as the difference itself needs. None where no difference is found so often.
    """
    observed = discordant / n

    def lacking(difference: float) -> float:
        return _power(difference, max(observed, difference), n, alpha) - POWER

    if lacking(1.0) < 0:
        return None
    return root(lacking, 0.0, 1.0, steps=20)


def _power(difference: float, discordance: float, n: int, alpha: float) -> float:
    """How often `mcnemar` rejects at a true difference and a true share of discordant items."""
    import scipy.special

    if discordance <= 0:
        return 0.0
    spread = 6 * np.sqrt(n * discordance * (1 - discordance)) + 6
    m = np.arange(max(1, int(n * discordance - spread)), min(n, int(n * discordance + spread)) + 1)
    weight = scipy.special.bdtr(m, n, discordance) - scipy.special.bdtr(m - 1, n, discordance)
    # Rejected where |2 k - m| > z sqrt(m), for k of m discordant items that b alone has right.
    half = quantile(level=1 - alpha) * np.sqrt(m)
    few, many = np.ceil((m - half) / 2) - 1, np.floor((m + half) / 2)
    share = (1 + difference / discordance) / 2
    rejected = np.where(few >= 0, scipy.special.bdtr(np.maximum(few, 0), m, share), 0.0)
    rejected += np.where(many < m, scipy.special.bdtrc(np.minimum(many, m), m, share), 0.0)
    return float(weight @ rejected)
