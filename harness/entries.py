"""From predictions to an entry: scored, also by engines, and recorded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from harness import engines, judging, leaderboard, participants, scoring
from harness.arms import Arm
from harness.code_keys import reached
from harness.computations import of_engine_scores
from harness.files import lock, recorded_name, remove_leftovers
from harness.fitting import Fitted
from harness.kept import outputs_path, write_outputs
from harness.models import loading
from harness.opening import training_set
from harness.plan import Scored
from harness.provenance import command, joined, provenance
from harness.run_config import RunConfig
from harness.schema import Entry, Metric, ModelRef, digest
from harness.shown import shown
from harness.store import LOCK, Store, link
from harness.task import Prediction, Ratio, Score

ENGINE_CHUNK = 4096
"""Items that an engine scores in one process: its start takes longer than hundreds of them."""


class Reporter(Protocol):
    """Who hears how a run goes: a terminal, a log, nobody."""

    def step(self, what: str, done: int, total: int, figures: dict[str, float]) -> None:
        """`done` of `total` units of `what` are done; figures are the latest loss and the like."""

    def recorded(self, entry: Entry, outcome: str) -> None:
        """An entry reached its leaderboard, with the outcome of `leaderboard.record`."""

    def examples(self, what: str, lines: Sequence[str]) -> None:
        """A few outputs of a model on a task, to look at."""


def make_entry(
    config: RunConfig,
    scored: Scored,
    predictions: Sequence[Prediction],
    who: Mapping[str, Any],
    store: Store,
) -> tuple[Entry, list[Any]]:
    """Score predictions: the leaderboard entry, and the rows that the run's folder shows.

    Args:
        who: the entry's fields that say whose predictions they are: method, config, model, ...
    """
    task, items = scored.task, scored.items
    predictions = judging.judged(scored, predictions, store)
    shares = scoring.scores(task, items, predictions)
    shares, unmeasured = _with_engines(config, scored, predictions, shares, store)
    metrics = task.aggregate(items, predictions, shares)
    for name in config.engine.keys() - unmeasured:
        signature = f"{engines.load(name).version}, {scored.ref.engines[name]}"
        metrics[name] = metrics[name].model_copy(update={"signature": signature})
    entry = Entry(
        task=scored.ref,
        profile=config.profile,
        limit=config.limit,
        primary=task.card.primary,
        higher_is_better=task.card.higher_is_better,
        metrics={**metrics, **unmeasured},
        categories=scoring.by_category(items, shares),
        items=scoring.packed(items, shares, task.card.primary),
        paired={name: scoring.packed(items, shares, name) for name in task.card.paired},
        lab=scored.lab,
        **who,
    )
    taking_part = participants.of_scored(scored, config.engine)
    entry = entry.model_copy(update={"provenance": joined(entry.provenance, taking_part)})
    return entry, scoring.report_rows(items, predictions, shares)


def unfounded(scored: Scored, entry: Entry, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say why a result must not be recorded; None where it may be.

    - Its judge decided fewer than half of what it was asked, or failures left fewer than half of
      the items with a score. Items that nobody is asked about (equal answers) have a score.
    - Its primary metric has no value (0 / 0).

    Args:
        rows: of `make_entry`, with the verdicts on each item.
    """
    name = f"{entry.method} on {entry.task.name}"
    if scored.judge is not None and (few := _too_few(entry.primary, rows)):
        return (
            f"{name}: judge '{shown(scored.judge.name)}' {few}. Nothing is recorded for it; what "
            "was judged is kept, the same command asks again where no answer came."
        )
    if entry.metrics[entry.primary].value is None:
        return (
            f"{name}: '{entry.primary}' has no value, since no item counts in it (0 / 0). "
            "Nothing is recorded for it."
        )
    return None


def _too_few(primary: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say how much a judge decided and why it first failed; None where half or more is enough."""
    asked = [row["details"]["verdicts"] for row in rows]
    failed = [each for verdicts in asked for each in verdicts if each["decision"] is None]
    lost = sum(
        row["scores"][primary][1] == 0 and any(each["decision"] is None for each in verdicts)
        for row, verdicts in zip(rows, asked, strict=True)
    )
    judgements = sum(map(len, asked))
    if 2 * len(failed) <= judgements and 2 * lost <= len(rows):
        return None
    return (
        f"decided {judgements - len(failed)} of {judgements} judgements and {len(rows) - lost} of "
        f"{len(rows)} items, fewer than half; the first that failed: {judging.reason(failed)}"
    )


def _with_engines(
    config: RunConfig,
    scored: Scored,
    predictions: Sequence[Prediction],
    shares: Sequence[Score],
    store: Store,
) -> tuple[list[Score], dict[str, Metric]]:
    """Scores with those of the engines asked for; and what could not be measured, with why."""
    found, unmeasured = list(shares), {}
    said = digest([list(each.outputs) for each in predictions])
    for name, setting in config.engine.items():
        inputs = {
            "engine": engines.load(name).identity(),
            **reached(of_engine_scores(scored.task, name)).key(),
            "setting": scored.task.engine_identity(name, setting),
            "items": scored.ref.fingerprint,
            "outputs": said,
        }

        def score(part: Sequence[int], _: int, name: str = name, setting: str = setting) -> Any:
            items = [scored.items[i] for i in part]
            outputs = [predictions[i] for i in part]
            values = scored.task.engine_scores(name, setting, items, outputs)
            return [{"score": value} for value in values]

        numbers = range(len(predictions))
        try:
            rows = store.mapped("engines", inputs, numbers, score, chunk=ENGINE_CHUNK)
        except engines.NotInstalledError as error:
            unmeasured[name] = Metric(value=None, n=0, signature=f"not measured: {error}")
            continue
        found = [
            {**share, name: Ratio(row["score"])} for share, row in zip(found, rows, strict=True)
        ]
    return found, unmeasured


def keep(
    config: RunConfig, entry: Entry, rows: Sequence[Any], folder: Path, reporter: Reporter
) -> None:
    """Record an entry in its leaderboard, and its outputs where `compare` finds them."""
    outcome = leaderboard.record(config.leaderboards, entry)
    reporter.recorded(entry, outcome)
    path = outputs_path(config.runs, entry)
    with lock(path.with_name(LOCK)):
        for place in (path.parent, folder):
            remove_leftovers(place)
        write_outputs(path, rows)
        link(path, folder / f"{entry.task.name}.jsonl")


def of_arm(config: RunConfig, arm: Arm, seed: int | None, fitted: Fitted) -> dict[str, Any]:
    """Whose predictions an entry scores, as its fields."""
    names = _recorded_names(arm)
    base, data = fitted.base, fitted.dataset_fingerprint
    return {
        "method": arm.name,
        "config": _renamed(arm.method.config.model_dump(mode="json"), names),
        "overrides": _renamed(dict(arm.overrides), names),
        "model": ModelRef(name=recorded_name(arm.model, base), base=base, weights=fitted.weights),
        "dataset": recorded_name(arm.dataset, data) if arm.dataset else None,
        "dataset_fingerprint": data,
        "seed": seed,
        "cost": fitted.cost,
        "provenance": provenance(config, command(config), participants.of_arm(arm, fitted.path)),
        "scored_precision": fitted.scored_precision,
    }


def _recorded_names(arm: Arm) -> dict[str, str]:
    """How an entry's config names the models and datasets that a method reads beside its own."""
    models = {name: loading.identity(loading.resolve(name)) for name in arm.method.models()}
    datasets = {name: training_set(name).fingerprint for name in arm.method.datasets()}
    both = {**models, **datasets}
    return {name: recorded_name(name, content) for name, content in both.items()}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A config without the folders of this machine."""
    if isinstance(value, Mapping):
        return {key: _renamed(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    if isinstance(value, str):
        return names.get(value) or recorded_name(value)
    return value
