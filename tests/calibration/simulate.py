"""Rates over many made-up results: how often intervals hold the truth and tests reject."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness import stats
from harness.contrast import ALPHA
from harness.differences import Task as Shares
from harness.differences import mean_difference
from harness.paired import PairedTest, Sides, paired_test
from tests.calibration.worlds import (
    CLUSTERED,
    CLUSTERED_PAIRS,
    PAIRS,
    SEEDS,
    SINGLES,
    Pair,
    Seeds,
    Side,
    Single,
    plain,
)

SEED = 20261127
SIZES = (20, 50, 200, 1000)
FEW = (3, 5, 10, 50)
"""Numbers of clusters."""


class Row(NamedTuple):
    """A line of a table: what was simulated, and its rates in percent."""

    name: str
    size: str
    rates: dict[str, float | None]


def generator(*names: object) -> np.random.Generator:
    """Each row's own, so that a row does not depend on which others are made."""
    return np.random.default_rng([SEED, *"/".join(map(str, names)).encode()])


def percent(hits: Sequence[bool]) -> float | None:
    return 100 * float(np.mean(hits)) if hits else None


def coverage(repetitions: int) -> Iterator[Row]:
    """Intervals of one value."""
    cells: list[tuple[Single, int]] = [(world, n) for world in SINGLES for n in SIZES]
    cells += [(world, count) for world in CLUSTERED for count in FEW]
    for world, n in cells:
        rng = generator(world.name, n)
        held, rough = [], []
        for _ in range(repetitions):
            (num, den), codes = world.draw(rng, n)
            found = stats.interval(num, den, codes)
            rough.append(stats.is_rough(num, den, codes))
            if found is not None:
                held.append(found[0] - 1e-12 <= world.truth <= found[1] + 1e-12)
        size = f"{n} clusters" if "cluster" in world.name else str(n)
        yield Row(world.name, size, {"coverage": percent(held), "said to be rough": percent(rough)})


def nulls(repetitions: int) -> Iterator[Row]:
    """Tests of two sides without a difference, one run each."""
    cells: list[tuple[Pair, int]] = [(world, n) for world in PAIRS for n in SIZES]
    cells += [(world, count) for world in CLUSTERED_PAIRS for count in FEW]
    for world, n in cells:
        rng = generator(world.name, n)
        found = [_tested(*world.draw(rng, n)) for _ in range(repetitions)]
        size = f"{n} clusters" if "cluster" in world.name else str(n)
        yield Row(world.name, size, _rates(found))


def _tested(a: Side, b: Side, codes: np.ndarray | None, matched: bool = False) -> PairedTest | None:
    clusters = np.arange(a.num.shape[-1]) if codes is None else codes
    shares = (np.atleast_2d(part) for part in (*a, *b))
    return paired_test(Sides(*shares, clusters, matched))


def _rates(found: Sequence[PairedTest | None]) -> dict[str, float | None]:
    """Rejections, how often interval and test agree, and how often the screen says rough."""
    known = [each.difference for each in found if each is not None]
    apart = [each.low is not None and not each.low <= 0 <= (each.high or 0) for each in known]
    return {
        "rejected": percent([each is not None and each.difference.p < ALPHA for each in found]),
        "agree": percent(
            [(each.p < ALPHA) == out for each, out in zip(known, apart, strict=True) if out]
        ),
        "said to be rough": percent([each is None or each.difference.rough for each in found]),
    }


def differing(repetitions: int) -> Iterator[Row]:
    """Intervals of a difference that is there: they hold it, whatever the test says."""
    for n in SIZES:
        for share, difference in ((0.1, 0.05), (0.3, 0.1), (0.5, 0.3)):
            name = f"accuracy, {100 * share:.0f} % of the items changed, {difference} apart"
            rng, found = generator(name, n), []
            for _ in range(repetitions):
                found.append(_tested(*_shifted(rng, n, share, difference), None))
            yield Row(name, str(n), _holding(found, difference))
        rng = generator("graded apart", n)
        pairs = (_graded_apart(rng, n) for _ in range(repetitions))
        yield Row("graded, 0.1 apart", str(n), _holding([_tested(*each) for each in pairs], 0.1))


def _holding(found: Sequence[PairedTest | None], truth: float) -> dict[str, float | None]:
    known = [each.difference for each in found if each is not None]
    ends = [(each.low, each.high) for each in known]
    held = [low is not None and low <= truth <= (high or 0.0) for low, high in ends]
    return {"coverage": percent(held), "said to be rough": percent([each.rough for each in known])}


def _shifted(
    rng: np.random.Generator, n: int, share: float, difference: float
) -> tuple[Side, Side]:
    """Right and wrong answers of two sides whose accuracies differ."""
    kind = rng.choice(3, n, p=[(share + difference) / 2, (share - difference) / 2, 1 - share])
    same = rng.random(n) < 0.5
    a = np.where(kind == 0, 0, np.where(kind == 1, 1, same))
    b = np.where(kind == 0, 1, np.where(kind == 1, 0, same))
    return Side(a, np.ones(n)), Side(b, np.ones(n))


def _graded_apart(rng: np.random.Generator, n: int) -> tuple[Side, Side, None]:
    common, own = rng.random((2, n))
    gain = np.where(rng.random(n) < 0.5, 0.4 * own, 0.0)
    return plain(0.5 * common), plain(0.5 * common + gain), None


def by_seeds(repetitions: int) -> Iterator[Row]:
    """Two methods without a difference, trained on one to five seeds."""
    for world in SEEDS:
        for seeds in (1, 2, 3, 5):
            for matched in (False, True):
                if seeds == 1 and matched:
                    continue
                rng = generator(world.name, seeds, matched)
                draws = (world.draw(rng, seeds, 200) for _ in range(repetitions))
                found = [_tested(a, b, None, matched) for a, b in draws]
                how = "one seed" if seeds == 1 else f"{seeds} seeds{', paired' * matched}"
                yield Row(world.name, how, _rates(found))


def means(repetitions: int) -> Iterator[Row]:
    """The mean of three tasks, of graded scores, whose seeds are the same trained models."""
    for seeds in (1, 2, 3, 5):
        rng = generator("means", seeds)
        rejected = []
        for _ in range(repetitions):
            level = 0.01 * rng.standard_normal((2, seeds, 1))
            tasks = []
            for n in (50, 200, 400):
                common = rng.standard_normal(n)
                rows = common + rng.standard_normal((2, 1, n)) * 0.3 + level
                sides = [rows[i] + 0.2 * rng.standard_normal((seeds, n)) for i in (0, 1)]
                ones = np.ones((seeds, n))
                tasks.append(Shares(sides[0], ones, sides[1], ones, np.arange(n)))
            found = mean_difference(tasks, matched=True)
            rejected.append(found is not None and found.p < ALPHA)
        name = "mean of three tasks, seeds vary as items do"
        how = "one seed" if seeds == 1 else f"{seeds} seeds, paired"
        yield Row(name, how, {"rejected": percent(rejected)})


def power(repetitions: int) -> Iterator[Row]:
    """How often the difference that is said to be detectable is found."""
    for n in (50, 200, 800):
        for share in (0.1, 0.3):
            yield _power_of_shares(n, share, repetitions)
        yield _power_of_seeds(Seeds("graded", 0.02, 0.0, 0.0), 1, n, repetitions)
    for world in SEEDS:
        for seeds in (2, 3, 5):
            yield _power_of_seeds(world, seeds, 200, repetitions)


def _power_of_shares(n: int, share: float, repetitions: int) -> Row:
    """Accuracy, where this share of the items changes."""
    from harness.proportions import detectable

    size = detectable(round(share * n), n, ALPHA)
    name = f"accuracy, {100 * share:.0f} % of the items changed"
    if size is None:
        return Row(name, str(n), {"power": None})
    rng, apart = generator(name, n), max(share, size)
    draws = (_shifted(rng, n, apart, size) for _ in range(repetitions))
    found = [_tested(a, b, None) for a, b in draws]
    return Row(name, str(n), {"power": percent([_found(each) for each in found])})


def _power_of_seeds(world: Seeds, seeds: int, n: int, repetitions: int) -> Row:
    """At the difference that the true sizes of the errors make detectable."""
    from harness.differences import Difference, Part

    noise = world.answers**2 / seeds
    items = Part(world.items**2 + noise, n - 1)
    parts = [items, *[Part(world.seeds**2 / seeds + noise, seeds - 1)] * (seeds > 1)]
    between = world.seeds**2 / seeds
    error = float(np.sqrt(world.items**2 + noise + between))
    parts = [part for part in parts if part.variance > 0]
    both = noise if seeds > 1 else 0.0
    truth = Difference(0.0, None, None, error, 1.0, tuple(parts), both, rough=False)
    size = truth.detectable(ALPHA)
    rng = generator(world.name, seeds, n, "power")
    draws = (world.draw(rng, seeds, n, size or 0.0) for _ in range(repetitions))
    found = [_tested(a, b, None, matched=True) for a, b in draws]
    how = f"{n}, {'one seed' if seeds == 1 else f'{seeds} seeds'}"
    return Row(world.name, how, {"power": percent([_found(each) for each in found])})


def _found(paired: PairedTest | None) -> bool:
    return paired is not None and paired.difference.p < ALPHA and paired.difference.value > 0


def corpora(repetitions: int) -> Iterator[Row]:
    """Paired tests of BLEU between two systems of 60 segments; b translates some anew."""
    from sacrebleu.metrics import BLEU

    from tasks.translation.significance import approximate_randomization, paired_bootstrap

    measure = BLEU(force=True)

    def score(sums: np.ndarray) -> float:
        return float(measure._compute_score_from_stats(sums).score)

    for share in (0.1, 0.3, 1.0):
        rng = generator("BLEU", share)
        p: dict[str, list[float]] = {"randomization": [], "bootstrap": []}
        for _ in range(max(2000, repetitions // 5)):
            references, *sides = _texts(rng, 60, share)
            a, b = (np.array(measure._extract_corpus_statistics(x, [references])) for x in sides)
            p["randomization"].append(approximate_randomization(score, a, b, 200, SEED))
            p["bootstrap"].append(paired_bootstrap(score, a, b, 200, SEED))
        for name, values in p.items():
            what = f"BLEU of 60 segments, {100 * share:.0f} % translated anew"
            yield Row(what, name, {"rejected": percent([each < ALPHA for each in values])})


def _texts(rng: np.random.Generator, count: int, share: float) -> tuple[list[str], ...]:
    """References, and two systems that say one word in five otherwise."""
    words = np.array([f"w{i}" for i in range(30)])
    truth = rng.choice(words, (count, 12))
    a, b = (
        np.where(rng.random(truth.shape) < 0.8, truth, rng.choice(words, truth.shape)) for _ in "ab"
    )
    b = np.where(rng.random((count, 1)) < share, b, a)
    return tuple([" ".join(row) for row in side] for side in (truth, a, b))


def families(repetitions: int) -> Iterator[Row]:
    """How often a family of comparisons without a difference has any verdict after Holm."""
    worlds = {world.name: world for world in PAIRS}
    for count in (10, 50):
        for names in ([changed] for changed in (PAIRS[1].name, "graded")):
            rng = generator("family", count, names[0])
            world = worlds[names[0]]
            before, after = [], []
            for _ in range(max(2000, repetitions // 10)):
                found = [_tested(*world.draw(rng, 200)) for _ in range(count)]
                p = [each.difference.p for each in found if each is not None]
                before += [each < ALPHA for each in p]
                after.append(min(stats.holm(p)) < ALPHA)
            rates = {"rejected": percent(before), "any after Holm": percent(after)}
            yield Row(names[0], f"{count} comparisons", rates)
