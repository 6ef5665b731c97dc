import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness import proportions


def test_mcnemar_is_the_chi_square_test_of_the_discordant() -> None:
    from scipy.stats import chisquare

    for only_a, only_b in ((1, 0), (2, 9), (15, 15), (300, 380)):
        found = proportions.mcnemar(only_a, only_b)
        assert found == pytest.approx(chisquare([only_a, only_b]).pvalue, rel=1e-9)
    assert proportions.mcnemar(0, 0) == 1
    assert proportions.mcnemar(0, 2000) == pytest.approx(0, abs=1e-300)


def test_mcnemar_never_rejects_much_more_often_than_it_says() -> None:
    """Exactly, over all tables: at most 5.4 % (Fagerland, Lydersen and Laake 2013)."""
    from scipy.stats import binom

    for n in (20, 50, 200):
        for discordance in (0.02, 0.05, 0.1, 0.2, 0.5, 0.8):
            rate = 0.0
            for m in range(1, n + 1):
                k = np.arange(m + 1)
                rejected = [proportions.mcnemar(m - each, each) < 0.05 for each in k]
                rate += binom.pmf(m, n, discordance) * binom.pmf(k, m, 0.5)[rejected].sum()
            assert rate < 0.0545, (n, discordance)


def likelihood_ends(only_a: int, only_b: int, n: int) -> NDArray[np.float64]:
    """Tango's interval from its definition: the score at the likeliest table of a difference."""
    grid = np.linspace(-0.999, 0.999, 4001)
    kept = []
    for difference in grid:
        # Share that only a has right, as likely as can be under this difference.
        low, high = max(0.0, -difference), (1 - difference) / 2
        share = np.linspace(low, high, 4001)[1:-1]
        likelihood = (
            only_a * np.log(share)
            + only_b * np.log(share + difference)
            + (n - only_a - only_b) * np.log(1 - 2 * share - difference)
        )
        best = share[np.argmax(likelihood)]
        variance = n * (2 * best + difference - difference**2)
        if (only_b - only_a - n * difference) ** 2 <= 1.96**2 * variance:
            kept.append(difference)
    return np.array([min(kept), max(kept)])


@pytest.mark.parametrize("table", [(3, 10, 100), (12, 4, 50), (1, 7, 20), (40, 60, 400)])
def test_tangos_interval_is_that_of_its_definition(table: tuple[int, int, int]) -> None:
    assert proportions.tango(*table) == pytest.approx(likelihood_ends(*table), abs=0.002)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 200))
def test_interval_and_test_agree_and_sides_swap(only_a: int, only_b: int, same: int) -> None:
    n = only_a + only_b + same
    low, high = proportions.tango(only_a, only_b, n)
    value = (only_b - only_a) / n
    assert -1 <= low <= value <= high <= 1
    p = proportions.mcnemar(only_a, only_b)
    assert (low > 1e-9 or high < -1e-9) == (p < 0.05)
    assert proportions.tango(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-9)


def test_interval_at_the_ends() -> None:
    assert proportions.tango(0, 0, 100) == pytest.approx((-0.037, 0.037), abs=1e-3)
    assert proportions.tango(0, 50, 50)[1] == 1
    assert proportions.tango(50, 0, 50)[0] == -1


@pytest.mark.parametrize(("changed", "n"), [(5, 50), (20, 200), (60, 200), (0, 100)])
def test_detectable_difference_is_found_four_times_in_five(changed: int, n: int) -> None:
    size = proportions.detectable(changed, n, 0.05)
    assert size is not None
    rng, apart = np.random.default_rng(changed), max(changed / n, size)
    shares = [(apart + size) / 2, max(0.0, apart - size) / 2, 1 - apart]
    tables = rng.multinomial(n, shares, 4000)
    found = [proportions.mcnemar(a, b) < 0.05 and b > a for b, a, _ in tables]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


def test_few_items_cannot_find_anything() -> None:
    assert proportions.detectable(1, 3, 0.05) is None
    assert proportions.detectable(2, 10, 1e-4) is None
    at_5, at_1 = (proportions.detectable(20, 200, alpha) for alpha in (0.05, 0.01))
    assert at_5 is not None
    assert at_1 is not None
    assert at_5 < at_1
