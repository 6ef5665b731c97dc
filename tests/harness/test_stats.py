import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import stats
from harness.differences import paired_difference

Array = NDArray[np.float64]


def binary(seed: int, n: int, p: float = 0.5) -> Array:
    return (np.random.default_rng(seed).random(n) < p).astype(float)


def f1_scores(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    truth, said = rng.random(n) < 0.5, rng.random(n) < 0.5
    return (2.0 * (truth & said)).astype(np.float64), truth.astype(np.float64) + said


def test_ratio_by_hand() -> None:
    assert stats.ratio([2, 0, 2], [2, 1, 3]) == pytest.approx(4 / 6)
    assert stats.ratio([0, 0], [0, 0]) is None


def test_plain_proportion_has_wilsons_interval_by_students_t() -> None:
    from scipy.stats import binomtest, t

    for right, n in [(7, 20), (300, 1000)]:
        num = [1.0] * right + [0.0] * (n - right)
        low, high = stats.interval(num, np.ones(n)) or (0.0, 0.0)
        for end in (low, high):
            # Where the score of a true share is just the quantile; n - 1, as variances have it.
            score = (right / n - end) / np.sqrt(end * (1 - end) / (n - 1))
            assert abs(score) == pytest.approx(t.ppf(0.975, n - 1))
        wilson = binomtest(right, n).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=0.02)
    for right, n in [(0, 20), (20, 20)]:
        expected = binomtest(right, n).proportion_ci(method="wilson")
        found = stats.interval([right / n] * n, np.ones(n))
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_has_students_interval() -> None:
    from scipy.stats import t

    x = 3 * np.random.default_rng(1).normal(size=30)
    expected = t.interval(0.95, 29, x.mean(), x.std(ddof=1) / np.sqrt(30))
    assert stats.interval(x, np.ones(30)) == pytest.approx(expected)
    # Thirty clusters of four equal items are thirty values.
    again = stats.interval(np.repeat(x, 4), np.ones(120), np.repeat(np.arange(30), 4))
    assert again == pytest.approx(expected)


def test_interval_is_near_scipys_bootstrap() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(1)
    num, den = rng.random(300), rng.random(300) + 0.5
    expected = bootstrap(
        (num, den),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = expected.high - expected.low
    assert stats.interval(num, den) == pytest.approx(tuple(expected), abs=0.06 * width)


def test_a_large_cluster_counts_as_one() -> None:
    """Nine clusters of one item and one of 91: hardly more than two values are known."""
    codes = np.concatenate([np.arange(9), np.full(91, 9)])
    num = binary(3, 100, 0.7)
    even, uneven = stats.interval(num, np.ones(100)), stats.interval(num, np.ones(100), codes)
    assert even is not None
    assert uneven is not None
    assert uneven[1] - uneven[0] > 3 * (even[1] - even[0])


def test_what_rests_on_little_is_rough() -> None:
    ones = np.ones(200)
    assert not stats.is_rough(binary(1, 200), ones)
    assert stats.is_rough([0.0] * 4 + [1.0] * 196, ones)
    assert stats.is_rough(binary(1, 8), np.ones(8))
    normal = 100 * np.random.default_rng(0).normal(size=200)
    assert not stats.is_rough(normal, ones)
    assert stats.is_rough([*normal[:199], 1e5], ones)
    assert stats.is_rough(normal, ones, np.arange(200) % 5)
    assert stats.is_rough([1.0], [1.0])


def test_repeated_items_do_not_narrow_a_clustered_interval() -> None:
    num, den = f1_scores(np.random.default_rng(4), 200)
    once = stats.interval(num, den)
    again = stats.interval(np.tile(num, 5), np.tile(den, 5), np.tile(np.arange(200), 5))
    assert again == pytest.approx(once)
    blind = stats.interval(np.tile(num, 5), np.tile(den, 5))
    assert once is not None
    assert blind is not None
    assert blind[1] - blind[0] < 0.6 * (once[1] - once[0])


def test_intervals_that_do_not_exist() -> None:
    assert stats.interval([], []) is None
    assert stats.interval([1], [1]) is None
    assert stats.interval([0, 0], [0, 0]) is None
    assert stats.interval([1, 1, 0], [1, 1, 1], [7, 7, 7]) is None
    assert stats.interval([3, 3, 3], [2, 2, 2]) is None


def test_proportion_at_its_end_is_not_certain_in_clusters_either() -> None:
    num, den, clusters = np.zeros(300), np.full(300, 4.0), np.repeat(np.arange(100), 3)
    assert stats.interval(num, den, clusters) == pytest.approx(
        stats.interval(np.zeros(100), np.ones(100))
    )
    low, high = stats.interval(den, den, clusters) or (0, 0)
    assert 0.95 < low < high == 1


def test_items_outside_a_metric_do_not_count() -> None:
    num, den = [1, 0, 1, 1], [1, 1, 1, 1]
    assert stats.interval([*num, 0, 0], [*den, 0, 0]) == stats.interval(num, den)


def test_holm_by_hand() -> None:
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert stats.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert stats.holm([]) == []


def test_hundred_thousand_items_are_quick() -> None:
    rng = np.random.default_rng(13)
    sides = [binary(seed, 100_000) + 0.0 for seed in (1, 2)]
    ones, clusters = np.ones(100_000), rng.integers(0, 30_000, 100_000)
    start = time.perf_counter()
    stats.interval(sides[0], ones, clusters)
    paired_difference(sides[0], ones, sides[1], ones, clusters)
    assert time.perf_counter() - start < 5


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=3), min_size=1))
def test_codes_are_numpys_own(names: list[str]) -> None:
    assert np.array_equal(stats.codes(names), np.unique(names, return_inverse=True)[1])


def test_a_long_name_widens_no_table() -> None:
    """1,500 names, one of 200,000 characters: an array of strings would have 1.2 GB, twice."""
    names = [f"name {i % 700}" for i in range(1500)]
    plain = stats.codes(names)
    names[3] = names[3] + "x" * 200_000
    tracemalloc.start()
    found = stats.codes(names)
    bounds = stats.interval(binary(0, 1500), np.ones(1500), names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e7
    assert bounds is not None
    assert len(set(found)) == len(set(plain)) + 1
