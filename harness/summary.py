"""How a run ends: its entries by task and method, each group against the baseline's."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness import stats
from harness.contrast import Contrast, Uncorrected, difference, holm, uncorrected, unpairable
from harness.packing import Columns, unpack
from harness.schema import Cost, Entry, Strict, canonical_json

BASELINE = "base"
"""The method that others are compared with: the model as it is."""


class Group(Strict):
    """A method's runs on a task that differ in their seed only."""

    method: str
    model: str
    dataset: str | None
    overrides: dict[str, Any]
    seeds: list[int | None]
    value: float | None
    """Primary metric, of the average over seeds."""
    low: float | None
    high: float | None
    """Its interval as recorded; None for several seeds."""
    rough: bool = False
    """Whether that interval rests on too little."""
    metrics: dict[str, float | None]
    """All metrics, averaged over seeds."""
    categories: dict[str, float | None] = {}
    """The primary metric of each category, averaged over seeds."""
    cost: Cost
    contrast: Contrast | None = None
    """Against the baseline; None for the baseline itself, and where there is a note."""
    paired: dict[str, tuple[float, float | None, float | None]] = {}
    """Differences from the baseline in further metrics that are kept per item, with intervals."""
    note: str | None = None
    """Why there is no contrast."""


class TaskSummary(Strict):
    """One task of a run: baseline first, then the methods as they came."""

    task: str
    lab: bool
    primary: str
    higher_is_better: bool
    n: int
    clusters: int
    groups: list[Group]


class Summary(Strict):
    """What a run says at its end."""

    baseline: str
    tasks: list[TaskSummary]


def summarize(entries: Sequence[Entry], baseline: str = BASELINE) -> Summary:
    """Group entries by task, model and method, and compare each group with the baseline's.

    The baseline of a group has the same model; where there are several, the same data set and
    overrides as well. Holm's correction runs over all groups of all tasks.
    """
    by_task: dict[tuple[bool, str], list[Entry]] = {}
    for entry in entries:
        by_task.setdefault((entry.lab, entry.task.name), []).append(entry)
    tasks = {task: grouped(some) for task, some in by_task.items()}
    found = {
        task: [_group(group, groups, baseline) for group in groups]
        for task, groups in tasks.items()
    }
    every = [each for groups in found.values() for _, each in groups if each]
    adjusted = iter(holm(every))
    summaries = []
    for (lab, name), groups in found.items():
        some = tasks[lab, name][0][0]
        judged = [
            group.model_copy(update={"contrast": next(adjusted)}) if each else group
            for group, each in groups
        ]
        judged.sort(key=lambda each: each.method != baseline)
        summaries.append(
            TaskSummary(
                task=name,
                lab=lab,
                primary=some.primary,
                higher_is_better=some.higher_is_better,
                n=some.items.n,
                clusters=int(unpack(some.items).clusters.max(initial=-1)) + 1,
                groups=judged,
            )
        )
    return Summary(baseline=baseline, tasks=summaries)


def grouped(entries: Iterable[Entry], method: str | None = None) -> list[list[Entry]]:
    """The entries of a task, those that differ in their seed alone together; of one method."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if method in (None, entry.method):
            identity = [entry.method, entry.model.name, entry.dataset, entry.overrides, entry.limit]
            found.setdefault(canonical_json([*identity, entry.task.split]), []).append(entry)
    return list(found.values())


def against(entries: Sequence[Entry], baselines: list[list[Entry]]) -> Contrast | None:
    """One group's contrast with its baseline, alone; None where it has none or is one."""
    first = entries[0]
    reference = None if first.method == BASELINE else _reference(first, baselines, BASELINE)
    if reference is None or any(unpairable(reference[0], each) for each in [*reference, *entries]):
        return None
    return holm([uncorrected(reference, entries)])[0]


def average(entries: Sequence[Entry], metric: str) -> float | None:
    """A metric averaged over runs; None where none has a value."""
    known = [entry.metrics[metric].value for entry in entries if metric in entry.metrics]
    values = [value for value in known if value is not None]
    return sum(values) / len(values) if values else None


def _group(
    entries: list[Entry], others: list[list[Entry]], baseline: str
) -> tuple[Group, Uncorrected | None]:
    """A group without its verdict, and its test against the baseline."""
    first = entries[0]
    single = first.metrics.get(first.primary) if len(entries) == 1 else None
    apart = next(filter(None, (unpairable(first, entry) for entry in entries)), None)
    columns = [unpack(entry.items) for entry in entries] if apart is None else []
    names = dict.fromkeys(name for entry in entries for name in entry.metrics)
    categories = {
        name: [entry.categories[name][entry.primary].value for entry in entries]
        for name in first.categories
        if all(name in entry.categories for entry in entries)
    }
    result, note = None, f"its runs are of different items: {apart}" if apart else None
    if first.method != baseline and note is None:
        reference = _reference(first, others, baseline)
        note = f"no result of {baseline} to compare with" if reference is None else None
        reasons = [unpairable(first, entry) for entry in reference or []]
        note = note or next(filter(None, reasons), None)
        result = uncorrected(reference, entries) if reference and note is None else None
    else:
        reference = None
    group = Group(
        method=first.method,
        model=first.model.name,
        dataset=first.dataset,
        overrides=first.overrides,
        seeds=[entry.seed for entry in entries],
        value=_mean(columns),
        low=single.low if single else None,
        high=single.high if single else None,
        rough=bool(single and columns) and stats.is_rough(*columns[0]),
        metrics={name: average(entries, name) for name in names},
        categories={
            name: None if None in some else sum(filter(None, some)) / len(some)
            for name, some in categories.items()
        },
        cost=first.cost,
        paired=_paired(reference, entries) if reference and result else {},
        note=note,
    )
    return group, result


def _paired(
    reference: Sequence[Entry], entries: Sequence[Entry]
) -> dict[str, tuple[float, float | None, float | None]]:
    """Differences in the metrics that all these entries keep beside the primary one."""
    both = [*reference, *entries]
    kept = [name for name in entries[0].paired if all(name in entry.paired for entry in both)]
    found = {name: difference(reference, entries, name) for name in kept}
    return {name: (each.value, each.low, each.high) for name, each in found.items() if each}


def _reference(entry: Entry, groups: list[list[Entry]], baseline: str) -> list[Entry] | None:
    fits = [g for g in groups if g[0].method == baseline and g[0].model.name == entry.model.name]
    same = [g for g in fits if (g[0].limit, g[0].task.split) == (entry.limit, entry.task.split)]
    fits = same or fits
    fits = [g for g in fits if unpairable(g[0], entry) is None] or fits
    for key in ("dataset", "overrides"):
        nearer = [g for g in fits if getattr(g[0], key) == getattr(entry, key)]
        fits = nearer or fits
    return fits[0] if len(fits) == 1 else None


def _mean(columns: Sequence[Columns]) -> float | None:
    """The ratio of the runs' averages; None where there are no runs to average."""
    if not columns:
        return None
    numerator, denominator = (np.stack([each[i] for each in columns]) for i in (0, 1))
    return stats.ratio(numerator, denominator)
