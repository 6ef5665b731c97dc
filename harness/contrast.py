"""Methods against a baseline over the same items: the differences a run ends with."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import seeds, stats
from harness.errors import HarnessError
from harness.packing import Columns, unpack
from harness.schema import Entry, Strict

ALPHA = 0.05
"""Verdicts are given where Holm's p is below."""

Verdict = Literal["better", "worse", "no evidence"]


class Contrast(Strict):
    """A paired difference (second side minus baseline) of the primary metric, with its test."""

    baseline: float | None
    value: float | None
    """Primary metric of each side; of the averages over seeds."""
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """Adjusted over everything that was compared together."""
    test: Literal["mcnemar", "permutation", "seeds"]
    detectable: float | None
    """Smallest true difference that this comparison finds with 80 % power, uncorrected."""
    n: int
    clusters: int
    seeds: tuple[int, int]
    """Runs on either side."""
    higher_is_better: bool
    verdict: Verdict


def unpairable(a: Entry, b: Entry) -> str | None:
    """Why two entries cannot be compared item by item; None where they can."""
    if a.lab != b.lab:
        return "one is a lab result, the other is not"
    names = {
        "card": "task card",
        "fingerprint": "fingerprint of the items",
        "rule": "extraction rule",
    }
    first, second = a.task.model_dump(), b.task.model_dump()
    for key in ("name", "version", "split", "source", "rule", "card", "judge", "fingerprint"):
        if first.get(key) != second.get(key):
            label = names.get(key, f"task {key}")
            return f"{label} differs: {first.get(key)} / {second.get(key)}"
    if a.limit != b.limit:
        return f"limit differs: {_limit(a.limit)} / {_limit(b.limit)}"
    if (a.primary, a.higher_is_better) != (b.primary, b.higher_is_better):
        return f"primary metric differs: {a.primary} / {b.primary}"
    if (a.items.n, a.items.clusters) != (b.items.n, b.items.clusters):
        return f"number or clusters of items differ: {a.items.n} / {b.items.n}"
    return None


Found = stats.Difference | seeds.SeedsDifference | None


class _Sides(NamedTuple):
    """Two sides' shares of a metric over the same items, each [runs, items]."""

    num_a: stats.Floats
    den_a: stats.Floats
    num_b: stats.Floats
    den_b: stats.Floats
    clusters: NDArray[np.int64]
    matched: bool
    """Whether row i of both sides is of the same base model and seed."""

    @property
    def single(self) -> bool:
        return len(self.num_a) == len(self.num_b) == 1

    def means(self) -> tuple[stats.Floats, stats.Floats, stats.Floats, stats.Floats]:
        """The four averaged over runs, [items] each."""
        num_a, den_a, num_b, den_b = (side.mean(axis=0) for side in self[:4])
        return num_a, den_a, num_b, den_b

    def difference(self) -> Found:
        if self.single:
            return stats.paired_difference(*self.means(), self.clusters)
        return seeds.seeds_difference(*self[:4], self.clusters, matched=self.matched)


def difference(baseline: Sequence[Entry], method: Sequence[Entry], metric: str) -> Found:
    """Paired difference, method minus baseline, of a metric that entries keep per item.

    One run on each side: with a bootstrap interval over clusters; several: `harness.seeds`. None
    where it is undefined. Raises `HarnessError` where entries cannot be paired or do not keep it.
    """
    return _sides(baseline, method, metric).difference()


def mean_difference(
    baselines: Sequence[Sequence[Entry]], methods: Sequence[Sequence[Entry]]
) -> seeds.SeedsDifference | None:
    """Paired difference of the mean of several tasks' primary metrics, every task counting alike.

    Args:
        baselines: the baseline's runs of each task; the same runs (models and seeds) of every one.
        methods: the method's, in the same order of tasks.

    None where it is undefined. Raises `HarnessError` where a task's entries cannot be paired.
    """
    tasks = [_sides(a, b, a[0].primary) for a, b in zip(baselines, methods, strict=True)]
    matched = all(sides.matched for sides in tasks)
    return seeds.mean_difference([seeds.Task(*sides[:5]) for sides in tasks], matched)


def contrast(baseline: Sequence[Entry], method: Sequence[Entry]) -> Contrast:
    """Compare the runs of a method with those of a baseline over the same items.

    One run on each side: exact McNemar test where items are independent 0 / 1 scores, else a
    paired permutation over clusters, with a bootstrap interval. Several: averages over seeds, see
    `harness.seeds`; sides with the same base models and seeds are paired by them. Raises
    `HarnessError` where entries cannot be paired.
    """
    first = baseline[0]
    sides = _sides(baseline, method, first.primary)
    means, result = sides.means(), sides.difference()
    test: Literal["mcnemar", "permutation", "seeds"] = "seeds"
    p: float | None = None
    if not sides.single:
        p = result.p if isinstance(result, seeds.SeedsDifference) else None
    elif _independent_binary(first, means):
        test, p = "mcnemar", stats.mcnemar_exact(means[0], means[2])
    else:
        test, p = "permutation", stats.paired_permutation(*means, sides.clusters)
    return _judged(
        Contrast(
            baseline=stats.ratio(means[0], means[1]),
            value=stats.ratio(means[2], means[3]),
            difference=result.value if result else None,
            low=result.low if result else None,
            high=result.high if result else None,
            p=p if result else None,
            p_holm=None,
            test=test,
            detectable=stats.smallest_detectable(result.error) if result else None,
            n=first.items.n,
            clusters=len(np.unique(sides.clusters)),
            seeds=(len(baseline), len(method)),
            higher_is_better=first.higher_is_better,
            verdict="no evidence",
        ),
        p if result else None,
    )


def _sides(baseline: Sequence[Entry], method: Sequence[Entry], metric: str) -> _Sides:
    if not baseline or not method:
        raise ValueError("both sides need an entry")
    first = baseline[0]
    for entry in [*baseline, *method]:
        reason = unpairable(first, entry)
        if reason is not None:
            raise HarnessError(f"'{first.place}' and '{entry.place}' cannot be compared: {reason}.")
    columns_a, columns_b = _by_run(baseline, metric), _by_run(method, metric)
    return _Sides(
        _stack(columns_a, 0),
        _stack(columns_a, 1),
        _stack(columns_b, 0),
        _stack(columns_b, 1),
        columns_a[0].clusters,
        _matched(baseline, method),
    )


def holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Adjust contrasts that are read together (Holm) and give their verdicts again."""
    adjusted = iter(stats.holm([each.p for each in contrasts if each.p is not None]))
    return [_judged(each, None if each.p is None else next(adjusted)) for each in contrasts]


def _judged(contrast: Contrast, p_holm: float | None) -> Contrast:
    verdict: Verdict = "no evidence"
    if p_holm is not None and p_holm < ALPHA and contrast.difference:
        verdict = "better" if (contrast.difference > 0) == contrast.higher_is_better else "worse"
    return contrast.model_copy(update={"p_holm": p_holm, "verdict": verdict})


def _by_run(entries: Sequence[Entry], metric: str) -> list[Columns]:
    return [unpack(entry.shares(metric)) for entry in sorted(entries, key=_run)]


def _stack(columns: Sequence[Columns], index: int) -> stats.Floats:
    return np.stack([column[index] for column in columns])


def _independent_binary(entry: Entry, sides: Sequence[stats.Floats]) -> bool:
    num_a, den_a, num_b, den_b = sides
    return (
        entry.items.clusters is None
        and bool((den_a == 1).all() and (den_b == 1).all())
        and bool(np.isin(num_a, (0, 1)).all() and np.isin(num_b, (0, 1)).all())
    )


def _run(entry: Entry) -> tuple[str, int]:
    """Which training run an entry is of: its base model and seed."""
    return entry.model.name, -1 if entry.seed is None else entry.seed


def _matched(baseline: Sequence[Entry], method: Sequence[Entry]) -> bool:
    runs = [_run(entry) for entry in method]
    return len(set(runs)) == len(runs) and sorted(map(_run, baseline)) == sorted(runs)


def _limit(limit: int | None) -> str:
    return "all items" if limit is None else f"first {limit}"
