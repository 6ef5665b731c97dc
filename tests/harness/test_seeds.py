import numpy as np
import pytest
from numpy.typing import NDArray

from harness.seeds import seeds_difference

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
        found = seeds_difference(a, ones, b, ones, np.arange(n), matched)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits.append(found.low <= 0 <= found.high)
        assert (found.p < 0.05) == (not hits[-1])
    # Two matched seeds leave one degree of freedom: a little below 95 %.
    assert np.mean(hits) >= (0.88 if runs == 2 else 0.92)


def test_one_baseline_run_counts_as_fixed_and_identical_runs_do_not_differ() -> None:
    rng = np.random.default_rng(12)
    base, ones, clusters = rng.random(50), np.ones(50), np.arange(50)
    method = base + 0.2 + 0.01 * rng.normal(size=(3, 50))
    found = seeds_difference(base, ones, method, np.ones((3, 50)), clusters, matched=False)
    assert found is not None
    assert found.value == pytest.approx(np.mean(method - base))
    assert found.p < 0.001
    same = np.tile(base, (3, 1))
    found = seeds_difference(base, ones, same, np.ones((3, 50)), clusters, matched=False)
    assert found is not None
    assert found.value == pytest.approx(0)
    assert (found.low, found.p) == (None, 1.0)
