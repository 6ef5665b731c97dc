"""From predictions to an entry's metrics: per-item shares, ratios of sums, intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import HarnessError
from harness.packing import pack
from harness.schema import Metric, Packed
from harness.stats import codes, interval, ratio
from harness.task import Item, Prediction, Score, Task


def scores(task: Task, items: Sequence[Item], predictions: Sequence[Prediction]) -> list[Score]:
    """Score every item; each must have its prediction, and each score what the card names."""
    for item, prediction in zip(items, predictions, strict=True):
        if item.id != prediction.id:
            raise HarnessError(f"prediction '{prediction.id}' stands where '{item.id}' should.")
    out = task.scores(items, predictions)
    for name in (task.card.primary, *task.card.paired) if out else ():
        if name not in out[0]:
            raise HarnessError(
                f"task '{task.card.name}': the card's metric '{name}' is none of its format's: "
                f"{', '.join(out[0])}."
            )
    return out


def columns(scores: Sequence[Score], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of a metric over items, [items] each."""
    pairs = np.array([tuple(score[metric]) for score in scores], dtype=np.float64)
    return pairs[:, 0], pairs[:, 1]


def metrics(scores: Sequence[Score], clusters: Sequence[str]) -> dict[str, Metric]:
    """Every metric of the scores with its interval over clusters."""
    numbers = codes(clusters)
    out = {}
    for name in scores[0]:
        numerator, denominator = columns(scores, name)
        low, high = interval(numerator, denominator, numbers) or (None, None)
        out[name] = Metric(
            value=ratio(numerator, denominator),
            low=low,
            high=high,
            n=int((denominator != 0).sum()),
        )
    return out


def by_category(items: Sequence[Item], scores: Sequence[Score]) -> dict[str, dict[str, Metric]]:
    """The metrics of each category of a task, where it has several."""
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.category, []).append(index)
    if len(groups) < 2:
        return {}
    return {
        name: metrics([scores[i] for i in members], clusters([items[i] for i in members]))
        for name, members in sorted(groups.items())
    }


def clusters(items: Sequence[Item]) -> list[str]:
    """What counts as one; an item without a cluster stands alone."""
    return [item.cluster or f"item {item.id}" for item in items]


def packed(items: Sequence[Item], scores: Sequence[Score], metric: str) -> Packed:
    """A metric's per-item shares as an entry keeps them."""
    return pack([score[metric] for score in scores], [item.cluster for item in items])


def report_rows(
    items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
) -> list[Mapping[str, object]]:
    """Predictions per item as a run's folder shows them: readable, with scores."""
    return [
        {
            "id": item.id,
            "category": item.category,
            "outputs": list(prediction.outputs),
            "details": dict(prediction.details),
            "reference": item.reference,
            "scores": {name: list(share) for name, share in score.items()},
        }
        for item, prediction, score in zip(items, predictions, scores, strict=True)
    ]
