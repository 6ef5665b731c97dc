"""Made-up results whose truth is known: per-item shares of one side, or of two over equal items."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rng = np.random.Generator


class Side(NamedTuple):
    """Shares of a metric, each [items] or [seeds, items]."""

    num: Floats
    den: Floats


class Single(NamedTuple):
    """A world of one side."""

    name: str
    truth: float
    draw: Callable[[Rng, int], tuple[Side, NDArray[np.int64] | None]]
    """(rng, items) -> shares, clusters."""


class Pair(NamedTuple):
    """A world of two sides over the same items, without a difference between them."""

    name: str
    draw: Callable[[Rng, int], tuple[Side, Side, NDArray[np.int64] | None]]


def plain(values: NDArray[np.generic]) -> Side:
    """Scores that count alike."""
    return Side(values.astype(np.float64), np.ones(values.shape))


def f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Side:
    return Side(2.0 * (said & truth), said.astype(np.float64) + truth)


def accuracy(p: float) -> Single:
    return Single(f"accuracy {p}", p, lambda rng, n: (plain(rng.random(n) < p), None))


def _graded(a: float, b: float) -> Single:
    draw = lambda rng, n: (plain(rng.beta(a, b, n)), None)  # noqa: E731
    return Single(f"graded, Beta({a}, {b})", a / (a + b), draw)


def _f1_single(rng: Rng, n: int) -> tuple[Side, None]:
    truth = rng.random(n) < 0.3
    return f1(np.where(rng.random(n) < 0.85, truth, ~truth), truth), None


def _heavy(sigma: float) -> Single:
    draw = lambda rng, n: (plain(rng.lognormal(0, sigma, n)), None)  # noqa: E731
    return Single(f"heavy tail, lognormal {sigma}", float(np.exp(sigma**2 / 2)), draw)


SINGLES = [
    *(accuracy(p) for p in (0.5, 0.9, 0.99, 0.999)),
    Single("F1", 2 * 0.255 / (2 * 0.255 + 0.105 + 0.045), _f1_single),
    _graded(2, 5),
    _graded(0.3, 1),
    _heavy(0.5),
    _heavy(1.0),
]


def clusters(rng: Rng, count: int, uneven: bool) -> NDArray[np.int64]:
    """Clusters of six items, or of sizes that differ by a lognormal factor."""
    sizes = 1 + rng.poisson(rng.lognormal(1, 0.7, count)) if uneven else np.full(count, 6)
    return np.repeat(np.arange(count), sizes)


def clustered(a: float, b: float, uneven: bool) -> Single:
    """Right or wrong, each cluster with a rate of its own."""

    def draw(rng: Rng, count: int) -> tuple[Side, NDArray[np.int64]]:
        codes = clusters(rng, count, uneven)
        return plain(rng.random(len(codes)) < rng.beta(a, b, count)[codes]), codes

    shape = "clusters of 2 to 20" if uneven else "clusters of 6"
    return Single(f"accuracy {a / (a + b):g} in {shape}", a / (a + b), draw)


CLUSTERED = [clustered(a, b, uneven) for a, b in ((2, 2), (6, 2)) for uneven in (False, True)]


def changed(share: float, p: float = 0.5) -> Pair:
    """Accuracy of two sides that answer this share of the items independently."""

    def draw(rng: Rng, n: int) -> tuple[Side, Side, None]:
        first, second = rng.random((2, n)) < p
        return plain(first), plain(np.where(rng.random(n) < share, second, first)), None

    name = f"accuracy {p}, {100 * share * 2 * p * (1 - p):.3g} % of the items changed"
    return Pair(name, draw)


def _f1_pair(rng: Rng, n: int) -> tuple[Side, Side, None]:
    truth = rng.random(n) < 0.3
    said = [np.where(rng.random(n) < 0.85, truth, ~truth) for _ in range(2)]
    return f1(said[0], truth), f1(said[1], truth), None


def _graded_pair(rng: Rng, n: int) -> tuple[Side, Side, None]:
    common, own = rng.random(n), rng.random((2, n))
    first, second = np.where(rng.random((2, n)) < 0.5, own, common)
    return plain(first), plain(second), None


def _heavy_pair(rng: Rng, n: int) -> tuple[Side, Side, None]:
    common, own = rng.standard_normal(n), rng.standard_normal((2, n))
    first, second = np.exp(common + 0.5 * own)
    return plain(first), plain(second), None


def _shapes(rng: Rng, n: int) -> tuple[Side, Side, None]:
    return plain(rng.beta(2, 2, n)), plain(rng.beta(0.3, 0.3, n)), None


def _f1_shapes(rng: Rng, n: int) -> tuple[Side, Side, None]:
    """One side says yes nearly always, the other seldom and rightly; F1 is equal."""
    truth = rng.random(n) < 0.4
    value = 2 * 0.36 / (0.9 + 0.4)
    false = (2 * 0.4 * 0.5 / value - 0.4 * 0.5 - 0.4) / 0.6
    seldom = np.where(truth, rng.random(n) < 0.5, rng.random(n) < false)
    return f1(rng.random(n) < 0.9, truth), f1(seldom, truth), None


def _rare(rng: Rng, n: int) -> tuple[Side, Side, None]:
    """A graded side against one that is right by 1 in 10: most samples lack what decides."""
    return plain(rng.beta(1, 9, n)), plain(rng.random(n) < 0.1), None


PAIRS = [
    changed(0.1),
    changed(0.5),
    changed(1.0),
    changed(0.5, 0.9),
    changed(0.5, 0.99),
    Pair("F1", _f1_pair),
    Pair("graded", _graded_pair),
    Pair("heavy tail", _heavy_pair),
    Pair("unequal shapes", _shapes),
    Pair("unequal shapes, F1", _f1_shapes),
    Pair("unequal shapes, one of them rare", _rare),
]


def clustered_pair(uneven: bool) -> Pair:
    """Two sides whose rates vary by cluster, half of that alike."""

    def draw(rng: Rng, count: int) -> tuple[Side, Side, NDArray[np.int64]]:
        codes = clusters(rng, count, uneven)
        common, own = rng.beta(2, 2, count), rng.beta(2, 2, (2, count))
        first, second = (rng.random(len(codes)) < ((common + each) / 2)[codes] for each in own)
        return plain(first), plain(second), codes

    return Pair(f"accuracy in clusters of {'2 to 20' if uneven else '6'}", draw)


CLUSTERED_PAIRS = [clustered_pair(False), clustered_pair(True)]


class Seeds(NamedTuple):
    """Graded scores of two methods over 200 items, trained on several seeds.

    Standard deviations of the difference of the methods' means: by the choice of items, by seed,
    and of single answers that vary by seed and item.
    """

    name: str
    items: float
    seeds: float
    answers: float

    def draw(self, rng: Rng, seeds: int, n: int, difference: float = 0.0) -> tuple[Side, Side]:
        """Both sides, [seeds, items] each, with this true difference."""
        root = np.sqrt(n)
        common = rng.standard_normal(n)
        sides = []
        for effect in (0.0, difference):
            own = self.items * root / np.sqrt(2) * rng.standard_normal(n)
            level = self.seeds / np.sqrt(2) * rng.standard_normal((seeds, 1))
            noise = self.answers * root / np.sqrt(2) * rng.standard_normal((seeds, n))
            sides.append(plain(effect + common + own + level + noise))
        return sides[0], sides[1]


SEEDS = [
    Seeds("seeds do not matter", 0.02, 0.0, 0.0),
    Seeds("answers vary by seed", 0.01, 0.0, 0.03),
    Seeds("seeds vary as items do", 0.02, 0.02, 0.01),
    Seeds("seeds vary three times as much", 0.01, 0.03, 0.0),
    Seeds("seeds vary ten times as much", 0.005, 0.05, 0.0),
]
