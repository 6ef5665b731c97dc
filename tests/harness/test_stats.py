import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import stats

Array = NDArray[np.float64]


def binary(seed: int, n: int, p: float = 0.5) -> Array:
    return (np.random.default_rng(seed).random(n) < p).astype(float)


def f1_scores(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    truth, said = rng.random(n) < 0.5, rng.random(n) < 0.5
    return (2.0 * (truth & said)).astype(np.float64), truth.astype(np.float64) + said


def test_ratio_by_hand() -> None:
    assert stats.ratio([2, 0, 2], [2, 1, 3]) == pytest.approx(4 / 6)
    assert stats.ratio([0, 0], [0, 0]) is None


def test_plain_proportion_has_wilson_interval() -> None:
    from scipy.stats import binomtest

    for right, n in [(0, 20), (20, 20), (7, 20), (300, 1000)]:
        num = [1.0] * right + [0.0] * (n - right)
        expected = binomtest(right, n).proportion_ci(method="wilson")
        assert stats.interval(num, np.ones(n)) == pytest.approx(
            (expected.low, expected.high), abs=1e-12
        )


def test_interval_equals_scipy_bootstrap_up_to_noise() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(1)
    num, den = rng.random(300), rng.random(300) + 0.5
    expected = bootstrap(
        (num, den),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = expected.high - expected.low
    assert stats.interval(num, den) == pytest.approx(tuple(expected), abs=0.06 * width)


def test_both_ways_to_resample_agree() -> None:
    # Few kinds of clusters are drawn as a multinomial; a little noise makes every cluster its own.
    rng = np.random.default_rng(3)
    num, den = f1_scores(rng, 1000)
    few = stats.interval(num, den)
    many = stats.interval(num + 1e-9 * rng.random(1000), den)
    assert few is not None
    assert many == pytest.approx(few, abs=0.06 * (few[1] - few[0]))


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


def test_interval_covers_the_truth_19_times_in_20() -> None:
    # 60 clusters of 1 to 5 items that share a cluster effect; the truth is 1/2 by symmetry.
    rng = np.random.default_rng(5)
    hits: list[bool] = []
    blind: list[bool] = []
    for _ in range(300):
        sizes = rng.integers(1, 6, 60)
        clusters = np.repeat(np.arange(60), sizes)
        right = (rng.random(sizes.sum()) < rng.beta(1, 1, 60)[clusters]).astype(float)
        for kept, codes in ((hits, clusters), (blind, None)):
            low, high = stats.interval(right, np.ones(len(right)), codes) or (0.0, 0.0)
            kept.append(low <= 0.5 <= high)
    assert 0.91 <= np.mean(hits) <= 0.98
    assert np.mean(blind) < 0.90


def test_mcnemar_equals_the_binomial_test() -> None:
    from scipy.stats import binomtest

    for only_a, only_b, same in [(0, 0, 5), (1, 0, 3), (2, 9, 0), (15, 15, 4), (300, 380, 9)]:
        a = np.array([1.0] * only_a + [0.0] * only_b + [1.0] * same)
        b = np.array([0.0] * only_a + [1.0] * only_b + [1.0] * same)
        total = only_a + only_b
        expected = binomtest(only_a, total).pvalue if total else 1.0
        assert stats.mcnemar_exact(a, b) == pytest.approx(expected, rel=1e-9)
    assert stats.mcnemar_exact(np.zeros(2000), np.ones(2000)) == pytest.approx(0, abs=1e-300)


def test_permutation_of_independent_binary_scores_is_mcnemar() -> None:
    a, b, ones = binary(1, 12, 0.3), binary(2, 12, 0.8), np.ones(12)
    assert stats.paired_permutation(a, ones, b, ones) == pytest.approx(stats.mcnemar_exact(a, b))
    a, b, ones = binary(1, 600, 0.50), binary(2, 600, 0.55), np.ones(600)
    assert stats.paired_permutation(a, ones, b, ones) == pytest.approx(
        stats.mcnemar_exact(a, b), abs=0.02
    )


def test_permutation_equals_scipy() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(6)
    for n, tolerance in ((9, 1e-12), (80, 0.02)):
        (num_a, den_a), (num_b, den_b) = f1_scores(rng, n), f1_scores(rng, n)
        both = np.stack([num_a + 1j * den_a, num_b + 1j * den_b])

        def difference(a: NDArray[np.complex128], b: NDArray[np.complex128], axis: int) -> Array:
            a, b = a.sum(axis), b.sum(axis)
            return np.asarray(b.real / b.imag - a.real / a.imag)

        expected = permutation_test(
            tuple(both),
            difference,
            permutation_type="samples",
            vectorized=True,
            n_resamples=20_000 if n > 14 else np.inf,
            rng=np.random.default_rng(0),
        ).pvalue
        found = stats.paired_permutation(num_a, den_a, num_b, den_b)
        assert found == pytest.approx(expected, abs=tolerance)


def test_sampled_p_value_is_never_zero() -> None:
    a = np.random.default_rng(0).random(60)
    for b in (a + 1, np.round(a + 1)):
        assert stats.paired_permutation(a, np.ones(60), b, np.ones(60)) == 1 / 10_001


def test_permutation_by_hand() -> None:
    # Three clusters, all better by one: 2 of 8 swaps are as far from 0.
    ones, clusters = np.ones(6), [0, 0, 1, 1, 2, 2]
    a, b = np.zeros(6), np.array([1.0, 0, 1, 0, 1, 0])
    assert stats.paired_permutation(a, ones, b, ones, clusters) == 2 / 8
    assert stats.paired_permutation(a, ones, b, ones) == 2 / 8


@pytest.mark.parametrize("grouped", [True, False])
def test_p_values_are_uniform_where_nothing_differs(grouped: bool) -> None:
    rng = np.random.default_rng(7)
    p_values = []
    for _ in range(150):
        difficulty = rng.random(40)
        clusters = np.repeat(np.arange(40), 3)
        chance = difficulty[clusters]
        a, b = ((rng.random((2, 120)) < chance) * 1.0) + (0 if grouped else rng.random((2, 120)))
        p_values.append(stats.paired_permutation(a, np.ones(120), b, np.ones(120), clusters))
    p = np.array(p_values)
    for level in (0.05, 0.2, 0.5):
        if grouped:  # Few values are possible: no more than the level, often less.
            assert np.mean(p <= level) <= level + 0.04
            continue
        assert np.mean(p <= level) == pytest.approx(
            level, abs=2.6 * np.sqrt(level * (1 - level) / 150)
        )


SCORES = st.lists(
    st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.0])] * 2, *[st.sampled_from([1.0, 2.0])] * 2),
    min_size=2,
    max_size=20,
)


@settings(max_examples=50)
@given(SCORES, st.integers(1, 3))
def test_swapping_the_sides_changes_the_sign_only(
    rows: list[tuple[float, float, float, float]], size: int
) -> None:
    num_a, num_b, den_a, den_b = (np.array(column) for column in zip(*rows, strict=True))
    clusters = np.arange(len(rows)) // size
    there = (num_a, den_a, num_b, den_b, clusters)
    back = (num_b, den_b, num_a, den_a, clusters)
    assert stats.paired_permutation(*there) == pytest.approx(stats.paired_permutation(*back))
    first, second = stats.paired_difference(*there), stats.paired_difference(*back)
    assert (first is None) == (second is None)
    if first and second:
        assert first.value == pytest.approx(-second.value)
        assert first.error == pytest.approx(second.error)


def test_identical_sides_do_not_differ() -> None:
    num, den = f1_scores(np.random.default_rng(8), 100)
    assert stats.paired_permutation(num, den, num, den) == 1
    assert stats.mcnemar_exact(num, num) == 1
    difference = stats.paired_difference(num, den, num, den)
    assert difference == stats.Difference(0.0, None, None, 0.0)
    assert stats.smallest_detectable(0.0) is None


def test_undefined_sides_have_no_test() -> None:
    zeros, ones = np.zeros(4), np.ones(4)
    assert stats.paired_permutation(zeros, zeros, ones, ones) is None
    assert stats.paired_difference(zeros, zeros, ones, ones) is None
    assert stats.paired_difference([1], [1], [0], [1]) is None


def test_paired_interval_and_error_agree_with_the_t_test_of_means() -> None:
    rng = np.random.default_rng(9)
    a = rng.normal(size=400)
    b = a + rng.normal(0.1, 0.5, size=400)
    difference = stats.paired_difference(a, np.ones(400), b, np.ones(400))
    assert difference is not None
    error = np.std(b - a, ddof=1) / 20
    assert difference.value == pytest.approx(np.mean(b - a))
    assert difference.error == pytest.approx(error)
    assert (difference.low, difference.high) == pytest.approx(
        (difference.value - 1.96 * error, difference.value + 1.96 * error), abs=float(0.15 * error)
    )


def test_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(10)
    size = stats.smallest_detectable(0.5 / np.sqrt(200))
    assert size == pytest.approx(2.8016 * 0.5 / np.sqrt(200), rel=1e-4)
    assert size is not None
    differences = rng.normal(size, 0.5, (2000, 200))
    z = differences.mean(axis=1) / (differences.std(axis=1, ddof=1) / np.sqrt(200))
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)


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
    stats.paired_difference(sides[0], ones, sides[1], ones, clusters)
    stats.paired_permutation(sides[0], ones, sides[1], ones, clusters)
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
