"""Methods against a baseline over the same items: the differences a run ends with."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness import differences, stats
from harness.differences import Difference
from harness.errors import HarnessError
from harness.packing import Columns, unpack
from harness.paired import PairedTest, Sides, paired_test
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
    test: Literal["mcnemar", "t", "seeds"]
    detectable: float | None
    """Smallest true difference that this test finds with 80 % power, at the level that Holm leaves
    to it; None where it finds none, as with three clusters."""
    n: int
    clusters: int
    seeds: tuple[int, int]
    """Runs on either side."""
    higher_is_better: bool
    verdict: Verdict
    checkpoint: bool
    """Whether the verdict is of one checkpoint: a side was trained, on a single seed."""
    rough: bool
    """Whether interval and p rest on too little, or on few items among many."""


def unpairable(a: Entry, b: Entry, apart: Collection[str] = ()) -> str | None:
    """Why two entries cannot be compared item by item; None where they can.

    Fields of the task in `apart` may differ.
    """
    if a.lab != b.lab:
        return "one is a lab result, the other is not"
    names = {
        "card": "task card",
        "fingerprint": "fingerprint of the items",
        "rule": "extraction rule",
    }
    for key in ("name", "version", "split", "source", "rule", "card", "judge", "fingerprint"):
        first, second = getattr(a.task, key), getattr(b.task, key)
        if first != second and key not in apart:
            label = names.get(key, f"task {key}")
            return f"{label} differs: {first} / {second}"
    if a.limit != b.limit:
        return f"limit differs: {_limit(a.limit)} / {_limit(b.limit)}"
    if (a.primary, a.higher_is_better) != (b.primary, b.higher_is_better):
        return f"primary metric differs: {a.primary} / {b.primary}"
    if (a.items.n, a.items.clusters) != (b.items.n, b.items.clusters):
        return f"number or clusters of items differ: {a.items.n} / {b.items.n}"
    return None


class Uncorrected(NamedTuple):
    """A contrast on its own, and what Holm's correction needs of its test."""

    alone: Contrast
    paired: PairedTest | None


def difference(
    baseline: Sequence[Entry], method: Sequence[Entry], metric: str
) -> Difference | None:
    """Paired difference, method minus baseline, of a metric that entries keep per item.

    None where it is undefined. Raises `HarnessError` where entries cannot be paired or do not keep
    it. See `contrast` for its interval.
    """
    found = paired_test(_sides(baseline, method, metric))
    return found and found.difference


def mean_difference(
    baselines: Sequence[Sequence[Entry]], methods: Sequence[Sequence[Entry]]
) -> Difference | None:
    """Paired difference of the mean of several tasks' primary metrics, every task counting alike.

    Args:
        baselines: the baseline's runs of each task; the same runs (models and seeds) of every one.
        methods: the method's, in the same order of tasks.

    None where it is undefined. Raises `HarnessError` where a task's entries cannot be paired.
    """
    tasks = [_sides(a, b, a[0].primary) for a, b in zip(baselines, methods, strict=True)]
    matched = all(sides.matched for sides in tasks)
    return differences.mean_difference([differences.Task(*sides[:5]) for sides in tasks], matched)


def contrast(baseline: Sequence[Entry], method: Sequence[Entry]) -> Contrast:
    """Compare the runs of a method with those of a baseline over the same items.

    One run on each side, whose items are independent and 0 or 1: McNemar's score test with Tango's
    interval; all else: a paired t test over clusters, and over seeds where a side has several, see
    `harness.differences`. Sides with the same base models and seeds are paired by them. Runs of
    several base models are averaged over each one's seeds: the models then count, not the runs.
    Raises `HarnessError` where entries cannot be paired.
    """
    return holm([uncorrected(baseline, method)])[0]


def uncorrected(
    baseline: Sequence[Entry], method: Sequence[Entry], apart: Collection[str] = ()
) -> Uncorrected:
    """The contrast of `contrast` before it is read together with others (`holm`).

    Fields of the task in `apart` may differ.
    """
    first = baseline[0]
    sides = _sides(baseline, method, first.primary, apart)
    means, paired = sides.means(), paired_test(sides)
    found = paired and paired.difference
    alone = Contrast(
        baseline=stats.ratio(means[0], means[1]),
        value=stats.ratio(means[2], means[3]),
        difference=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=found.p if found else None,
        p_holm=None,
        test="seeds" if not sides.single else "mcnemar" if paired and paired.changed else "t",
        detectable=None,
        n=first.items.n,
        clusters=int(sides.clusters.max(initial=-1)) + 1,
        seeds=(len(baseline), len(method)),
        higher_is_better=first.higher_is_better,
        verdict="no evidence",
        checkpoint=any(_one_seed(side) for side in (baseline, method)),
        rough=found.rough if found else True,
    )
    return Uncorrected(alone, paired)


def _sides(
    baseline: Sequence[Entry], method: Sequence[Entry], metric: str, apart: Collection[str] = ()
) -> Sides:
    if not baseline or not method:
        raise ValueError("both sides need an entry")
    first = baseline[0]
    for entry in [*baseline, *method]:
        reason = unpairable(first, entry, apart)
        if reason is not None:
            raise HarnessError(f"'{first.place}' and '{entry.place}' cannot be compared: {reason}.")
    sides = [_rows(side, metric) for side in (baseline, method)]
    (runs_a, rows_a), (runs_b, rows_b) = sides
    return Sides(
        num_a=np.stack([row.numerator for row in rows_a]),
        den_a=np.stack([row.denominator for row in rows_a]),
        num_b=np.stack([row.numerator for row in rows_b]),
        den_b=np.stack([row.denominator for row in rows_b]),
        clusters=rows_a[0].clusters,
        matched=runs_a == runs_b and len(set(runs_a)) == len(runs_a),
    )


def holm(together: Sequence[Uncorrected]) -> list[Contrast]:
    """Adjust contrasts that are read together (Holm) and give their verdicts.

    The level that is left to a contrast is 5 % over the number of those that have no verdict, it
    among them: what the smallest of their p values is compared with.
    """
    known = [each.alone.p for each in together if each.alone.p is not None]
    adjusted = stats.holm(known)
    left = sum(p >= ALPHA for p in adjusted)
    values = iter(adjusted)
    return [
        _judged(each, None if each.alone.p is None else next(values), left) for each in together
    ]


def _judged(tested: Uncorrected, p_holm: float | None, left: int) -> Contrast:
    verdict: Verdict = "no evidence"
    contrast, found = tested.alone, p_holm is not None and p_holm < ALPHA
    if found and contrast.difference:
        verdict = "better" if (contrast.difference > 0) == contrast.higher_is_better else "worse"
    alpha = ALPHA / (left + 1 if found else max(1, left))
    detectable = tested.paired.detectable(alpha) if tested.paired else None
    return contrast.model_copy(
        update={"p_holm": p_holm, "verdict": verdict, "detectable": detectable}
    )


def _rows(
    entries: Sequence[Entry], metric: str
) -> tuple[list[tuple[str, int | None]], list[Columns]]:
    """What a side's rows are of, and their shares: runs, or base models where it has several.

    A base model's row is the average over its seeds.
    """
    runs = [(_run(entry), unpack(entry.shares(metric))) for entry in sorted(entries, key=_run)]
    bases: dict[str, list[Columns]] = {}
    for (model, _), columns in runs:
        bases.setdefault(model, []).append(columns)
    if len(bases) == 1:
        return [run for run, _ in runs], [columns for _, columns in runs]
    averages = [
        Columns(
            np.mean([each.numerator for each in some], axis=0),
            np.mean([each.denominator for each in some], axis=0),
            some[0].clusters,
        )
        for some in bases.values()
    ]
    return [(model, None) for model in bases], averages


def _one_seed(entries: Sequence[Entry]) -> bool:
    """Whether training took part in a side, on a single seed."""
    trained = {entry.seed for entry in entries if entry.cost.trainable_parameters}
    return len(trained) == 1


def _run(entry: Entry) -> tuple[str, int]:
    """Which training run an entry is of: its base model and seed."""
    return entry.model.name, -1 if entry.seed is None else entry.seed


def _limit(limit: int | None) -> str:
    return "all items" if limit is None else f"first {limit}"
