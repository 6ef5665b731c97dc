"""Tables for the terminal: how a run ended.

They fit the width they are shown at, say everything in words (colour only repeats it), and are
plain text where the output is no terminal. All metrics of a task are shown with its primary one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from harness.report.blocks import Block, Line, Tables
from harness.report.cells import (
    TESTED,
    big,
    detectable,
    difference,
    footnotes,
    interval,
    join,
    marked,
    number,
    p_value,
    secondary,
    signed,
    size,
    title,
    verdict,
)
from harness.schema import Entry, canonical_json
from harness.summary import BASELINE, Group, Summary, TaskSummary, summarize

CATEGORIES = 12
"""More categories than this are left to the leaderboard."""


def run_table(entries: Sequence[Entry] | Summary, baseline: str = BASELINE) -> Tables:
    """The end of a run: per task, the baseline's value and each method's difference from it.

    Takes the entries of all methods and seeds, or what `summary.summarize` made of them.
    """
    summary = entries if isinstance(entries, Summary) else summarize(entries, baseline)
    models = {group.model for task in summary.tasks for group in task.groups}
    blocks = [_task_block(task, len(models) > 1) for task in summary.tasks]
    groups = [group for task in summary.tasks for group in task.groups]
    shown = [group.contrast for group in groups if group.contrast]
    lab = any(task.lab for task in summary.tasks)
    notes = footnotes(shown, "all of this table", lab, any(group.rough for group in groups))
    if any(group.paired for group in groups):
        notes.append("differences of further metrics are outside Holm's correction.")
    if not isinstance(entries, Summary):
        notes += _unmeasured(entries)
        limits = sorted({entry.limit for entry in entries if entry.limit is not None})
        notes += [
            f"--limit {n}: the first {n} items of a task, which are no sample of it."
            for n in limits
        ]
    return Tables([*blocks, Block("", [], [], notes)])


def _unmeasured(entries: Sequence[Entry]) -> list[str]:
    """What could not be measured, with the reason."""
    metrics = (pair for entry in entries for pair in entry.metrics.items())
    return list(
        dict.fromkeys(f"{k}: {m.signature}" for k, m in metrics if m.value is None and m.signature)
    )


def render(tables: Tables, width: int = 80) -> str:
    """The tables as plain text of at most `width` columns."""
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, legacy_windows=False).print(tables)
    return stream.getvalue()


def _task_block(task: TaskSummary, many_models: bool) -> Block:
    lines = []
    for group in task.groups:
        result = group.contrast
        name = marked(_group_name(group, many_models), task.lab)
        value = number(group.value)
        if result is None:
            cells = [
                name,
                value + interval(group.low, group.high, group.rough),
                "",
                "",
                "not compared" if group.note else "",
            ]
        else:
            cells = [name, value, difference(result), p_value(result.p_holm), verdict(result)]
        lines.append(Line(cells, _group_details(group, task)))
    return Block(
        title=f"{title(task.task, task.lab, task.primary, task.higher_is_better)}, "
        f"{size(task.n, task.clusters)}",
        header=["", task.primary, *TESTED],
        lines=lines,
    )


def _group_name(group: Group, many_models: bool) -> str:
    parts = [group.method]
    if many_models:
        parts.append(group.model)
    parts += [f"{key}={canonical_json(value)}" for key, value in sorted(group.overrides.items())]
    return " ".join(parts)


def _group_details(group: Group, task: TaskSummary) -> list[str]:
    details = [group.note] if group.note else []
    details += secondary({k: number(v) for k, v in group.metrics.items()}, task.primary)
    if 0 < len(group.categories) <= CATEGORIES:
        shown = (f"{name} {number(value)}" for name, value in group.categories.items())
        details.append(f"{task.primary} by category: {'; '.join(shown)}")
    for name, (value, low, high) in group.paired.items():
        bounds = "" if low is None or high is None else f" [{signed(low)}, {signed(high)}]"
        details.append(f"{name}: difference {signed(value)}{bounds}")
    facts = detectable(group.contrast)
    if len(group.seeds) > 1:
        facts.append(f"mean of {len(group.seeds)} seeds")
    cost = group.cost
    if cost.trainable_parameters:
        share = 100 * cost.trainable_parameters / max(1, cost.total_parameters)
        facts.append(f"{big(cost.trainable_parameters)} trainable parameters ({share:.3g} %)")
        facts.append(f"{big(cost.train_tokens)} train tokens")
        facts += [f"not counted: {cost.uncounted}"] * bool(cost.uncounted)
    else:
        facts.append(f"{big(cost.total_parameters)} parameters, none trained")
    return [*details, join(facts)]
