import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.differences import Difference, paired_difference

Array = NDArray[np.float64]


def trained(rng: np.random.Generator, count: int, n: int, between: float, items: Array) -> Array:
    """Scores [seeds, items] of runs whose level varies by `between` from seed to seed."""
    level = rng.normal(0, between, (count, 1))
    noise = rng.normal(0, 0.3, (count, n))
    return np.asarray(0.5 + level + items + noise)


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("matched", [True, False])
def test_interval_with_seeds_covers_new_seeds_and_items(runs: int, matched: bool) -> None:
    rng = np.random.default_rng(11)
    hits, n = [], 100
    for _ in range(300):
        items = rng.normal(0, 0.3, n)
        a, b = (trained(rng, runs, n, 0.05, items) for _ in range(2))
        ones = np.ones((runs, n))
        found = paired_difference(a, ones, b, ones, np.arange(n), matched)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits.append(found.low <= 0 <= found.high)
        assert (found.p < 0.05) == (not hits[-1])
    assert np.mean(hits) >= 0.94


def test_one_baseline_run_counts_as_fixed_and_identical_runs_do_not_differ() -> None:
    rng = np.random.default_rng(12)
    base, ones, clusters = rng.random(50), np.ones(50), np.arange(50)
    method = base + 0.2 + 0.01 * rng.normal(size=(3, 50))
    found = paired_difference(base, ones, method, np.ones((3, 50)), clusters)
    assert found is not None
    assert found.value == pytest.approx(np.mean(method - base))
    assert found.p < 0.001
    same = np.tile(base, (3, 1))
    found = paired_difference(base, ones, same, np.ones((3, 50)), clusters)
    assert found is not None
    assert found.value == pytest.approx(0)
    assert (found.low, found.p) == (None, 1.0)


def test_one_run_has_the_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(9)
    a = rng.normal(size=40)
    b = a + rng.normal(0.2, 0.5, size=40)
    found, expected = paired_difference(a, np.ones(40), b, np.ones(40)), ttest_rel(b, a)
    assert found is not None
    assert found.value == pytest.approx(np.mean(b - a))
    assert found.p == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    # Clusters of equal items are what counts.
    again = [np.repeat(each, 3) for each in (a, np.ones(40), b, np.ones(40), np.arange(40))]
    clustered = paired_difference(*again)
    assert clustered is not None
    assert clustered.p == pytest.approx(found.p)


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
    first = paired_difference(num_a, den_a, num_b, den_b, clusters)
    second = paired_difference(num_b, den_b, num_a, den_a, clusters)
    assert (first is None) == (second is None)
    if first and second:
        assert first.value == pytest.approx(-second.value)
        assert first.error == pytest.approx(second.error)
        assert first.p == pytest.approx(second.p)


def test_identical_sides_do_not_differ() -> None:
    num = np.random.default_rng(8).random(100)
    found = paired_difference(num, np.ones(100), num, np.ones(100))
    assert found == Difference(0.0, None, None, 0.0, 1.0, (), 0.0, rough=True)
    assert found.detectable(0.05) is None


def test_items_that_all_differ_alike_have_the_sign_test() -> None:
    a, ones = np.zeros(6), np.ones(6)
    found = paired_difference(a, ones, a + 1, ones, [0, 0, 1, 1, 2, 2])
    assert found is not None
    assert (found.value, found.low, found.p) == (1, None, 2 / 8)


def test_undefined_sides_have_no_test() -> None:
    zeros, ones = np.zeros(4), np.ones(4)
    assert paired_difference(zeros, zeros, ones, ones) is None
    assert paired_difference([1], [1], [0], [1]) is None
    # Without its first item a side is 0 / 0.
    assert paired_difference([1, 0], [1, 0], [1, 1], [1, 1]) is None


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_detectable_difference_is_found_four_times_in_five(seeds: int) -> None:
    """The difference that the true errors make detectable, not those that a sample estimates."""
    rng = np.random.default_rng(10)
    n, ones = 60, np.ones((seeds, 60))

    def draw(difference: float) -> Difference:
        a, b = rng.normal(size=(2, seeds, n)) + 0.1 * rng.normal(size=(2, seeds, 1))
        found = paired_difference(a, ones, b + difference, ones, None, matched=True)
        assert found is not None
        return found

    sizes = [draw(0.0).detectable(0.05) for _ in range(150)]
    typical = float(np.sqrt(np.mean(np.square([size for size in sizes if size]))))
    found = [draw(typical).p < 0.05 for _ in range(300)]
    # Estimated with one or two degrees of freedom the errors are near the truth on average only.
    assert 0.7 <= np.mean(found) <= 0.93
