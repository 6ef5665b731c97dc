"""Small valid values of the vocabulary for tests."""

from collections.abc import Sequence
from typing import Any

from harness.packing import pack
from harness.schema import Cost, Entry, Metric, ModelRef, Provenance, TaskRef
from harness.stats import interval, ratio


def entry(
    scores: Sequence[float | tuple[float, float]] = (1, 0, 1, 1),
    *,
    clusters: Sequence[str] | None = None,
    task: str = "pope",
    method: str = "aspo",
    model: str = "lab/scenes-vlm",
    seed: int | None = 0,
    lab: bool = True,
    primary: str = "accuracy",
    higher_is_better: bool = True,
    metrics: dict[str, float | None] | None = None,
    card: str = "c0",
    fingerprint: str = "f0",
    split: str = "test",
    version: int = 1,
    weights: str = "w0",
    commit: str = "0000000",
    **changes: Any,
) -> Entry:
    """An entry with these primary scores per item, numbers or (numerator, denominator)."""
    pairs = [score if isinstance(score, tuple) else (float(score), 1.0) for score in scores]
    num, den = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    codes = None if clusters is None else [sorted(set(clusters)).index(name) for name in clusters]
    low, high = interval(num, den, codes) or (None, None)
    counted = sum(part != 0 for part in den)
    values = {primary: Metric(value=ratio(num, den), low=low, high=high, n=counted)}
    values |= {name: Metric(value=value, n=len(pairs)) for name, value in (metrics or {}).items()}
    trained = seed is not None
    fields: dict[str, Any] = {
        "task": TaskRef(
            name=task,
            version=version,
            card=card,
            source="lab/scenes-pope",
            split=split,
            fingerprint=fingerprint,
            rule="first-word",
        ),
        "method": method,
        "config": {"loss": {"beta": 0.1}, "targets": ["q_proj", "v_proj"]} if trained else {},
        "profile": "lab",
        "model": ModelRef(name=model, base="b0", weights=weights if trained else "b0"),
        "dataset": "lab/scenes-pairs" if trained else None,
        "dataset_fingerprint": "d0" if trained else None,
        "seed": seed,
        "limit": None,
        "primary": primary,
        "higher_is_better": higher_is_better,
        "metrics": values,
        "items": pack(pairs, clusters),
        "cost": Cost(
            total_parameters=712_000,
            trainable_parameters=712_000 if trained else 0,
            train_tokens=48_210 if trained else 0,
        ),
        "provenance": Provenance(
            commit=commit, dirty=False, code="s0", packages={"torch": "2.13.0"}, command="run"
        ),
        "lab": lab,
    }
    return Entry(**(fields | changes))
