"""Two sides' shares over the same items, and the paired test that fits them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import proportions
from harness.differences import Difference, paired_difference
from harness.stats import Floats


class Sides(NamedTuple):
    """Two sides' shares of a metric over the same items, each [runs, items]."""

    num_a: Floats
    den_a: Floats
    num_b: Floats
    den_b: Floats
    clusters: NDArray[np.int64]
    """Numbers from 0, without a gap."""
    matched: bool
    """Whether row i of both sides is of the same run: base model and seed, or base model."""

    @property
    def single(self) -> bool:
        return len(self.num_a) == len(self.num_b) == 1

    def means(self) -> tuple[Floats, Floats, Floats, Floats]:
        """The four averaged over runs, [items] each."""
        num_a, den_a, num_b, den_b = (
            side[0] if len(side) == 1 else side.mean(axis=0) for side in self[:4]
        )
        return num_a, den_a, num_b, den_b


class PairedTest(NamedTuple):
    """A paired difference with its test: McNemar's where `changed` counts, else Student's t."""

    difference: Difference
    changed: tuple[int, int] | None
    """Items of 0 or 1 that one side alone has right."""
    n: int
    most: float
    """The largest difference that there can be: 1 between shares of 0 to 1."""

    def detectable(self, alpha: float) -> float | None:
        """Smallest true difference found with 80 % power at a level; None where none is."""
        if self.changed is not None:
            return proportions.detectable(sum(self.changed), self.n, alpha)
        size = self.difference.detectable(alpha)
        return None if size is None or size > self.most else size


def paired_test(sides: Sides) -> PairedTest | None:
    """Compare two sides by the test that fits them; None where a ratio is undefined."""
    num_a, _, num_b, _ = sides.means()
    n = len(num_a)
    if sides.single and _independent_binary(sides):
        changed = int((num_a > num_b).sum()), int((num_b > num_a).sum())
        low, high = proportions.tango(*changed, n)
        value = (changed[1] - changed[0]) / n
        error = float(np.sqrt((sum(changed) - n * value**2) / n / max(1, n - 1)))
        p = proportions.mcnemar(*changed)
        rough = sum(changed) < proportions.FEW
        return PairedTest(Difference(value, low, high, error, p, (), 0.0, rough), changed, n, 1.0)
    found = paired_difference(*sides[:5], matched=sides.matched)
    shares = all(
        bool(((num >= 0) & (num <= den)).all())
        for num, den in ((sides.num_a, sides.den_a), (sides.num_b, sides.den_b))
    )
    return found and PairedTest(found, None, n, 1.0 if shares else np.inf)


def _independent_binary(sides: Sides) -> bool:
    return (
        sides.clusters.max(initial=-1) == len(sides.clusters) - 1
        and bool((sides.den_a == 1).all() and (sides.den_b == 1).all())
        and bool(np.isin(sides.num_a, (0, 1)).all() and np.isin(sides.num_b, (0, 1)).all())
    )
