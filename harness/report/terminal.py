"""Tables for the terminal: how a run ended, and what changed between two leaderboards.

They fit the width they are shown at, say everything in words (colour only repeats it), and are
plain text where the output is no terminal. All metrics of a task are shown with its primary one.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.compare import Comparison, Row
from harness.contrast import ALPHA, Contrast
from harness.schema import Entry, canonical_json
from harness.summary import Group, Summary, TaskSummary, summarize

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

STYLES = {"better": "green", "worse": "bold red", "no evidence": "dim", "unchanged": "dim"}
TESTED = ["difference", "p (Holm)", "verdict"]
GAP = "  "
INDENT = "    "


CATEGORIES = 12
"""More categories than this are left to the leaderboard."""


@dataclass
class Line:
    """One row of a table: aligned cells, and details wrapped below them."""

    cells: list[str]
    details: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A titled table; a first cell too wide for the screen gets a line of its own."""

    title: str
    header: list[str]
    lines: list[Line]
    notes: list[str] = field(default_factory=list)


@dataclass
class Tables:
    """What a rich console prints: `console.print(run_table(entries))`."""

    blocks: list[Block]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for position, block in enumerate(self.blocks):
            if position:
                yield ""
            yield from _render(block, options.max_width, options.ascii_only)


def run_table(entries: Sequence[Entry] | Summary, baseline: str = "base") -> Tables:
    """The end of a run: per task, the baseline's value and each method's difference from it.

    Takes the entries of all methods and seeds, or what `summary.summarize` made of them.
    """
    summary = entries if isinstance(entries, Summary) else summarize(entries, baseline)
    models = {group.model for task in summary.tasks for group in task.groups}
    blocks = [_task_block(task, len(models) > 1) for task in summary.tasks]
    tested = sum(group.contrast is not None for task in summary.tasks for group in task.groups)
    notes = _footnotes(tested, any(task.lab for task in summary.tasks))
    if not isinstance(entries, Summary):
        notes += _unmeasured(entries)
    return Tables([*blocks, Block("", [], [], notes)])


def _unmeasured(entries: Sequence[Entry]) -> list[str]:
    """What could not be measured, with the reason."""
    metrics = (pair for entry in entries for pair in entry.metrics.items())
    return list(
        dict.fromkeys(f"{k}: {m.signature}" for k, m in metrics if m.value is None and m.signature)
    )


def comparison_table(result: Comparison) -> Tables:
    """What changed between two states of the leaderboards, and what could not be compared."""
    blocks = [Block(f"{result.a} -> {result.b}", [], [])]
    for lab, task in dict.fromkeys((row.lab, row.task) for row in result.rows):
        rows = [row for row in result.rows if (row.lab, row.task) == (lab, task)]
        changed = [row for row in rows if row.verdict != "unchanged"]
        block = Block(
            title=_title(task, lab, rows[0].primary, rows[0].higher_is_better),
            header=["", "before", "after", *TESTED] if changed else [],
            lines=[_comparison_line(row) for row in changed],
        )
        if len(changed) < len(rows):
            block.notes.append(f"unchanged: {len(rows) - len(changed)}")
        blocks.append(block)
    if result.refused:
        lines = [
            Line([_marked(f"{refusal.task}: {refusal.place}", refusal.lab)], [refusal.reason])
            for refusal in result.refused
        ]
        blocks.append(Block(f"Not compared: {len(lines)}", [], lines))
    if not result.rows and not result.refused:
        blocks.append(Block("Nothing to compare: both sides are empty.", [], []))
    tested = sum(row.contrast is not None for row in result.rows)
    lab = any(row.lab for row in result.rows) or any(each.lab for each in result.refused)
    notes = _footnotes(tested, lab)
    return Tables([*blocks, Block("", [], [], notes)])


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
        name = _marked(_group_name(group, many_models), task.lab)
        value = _number(group.value)
        if result is None:
            cells = [
                name,
                value + _interval(group.low, group.high),
                "",
                "",
                "not compared" if group.note else "",
            ]
        else:
            cells = [name, value, _difference(result), _p(result.p_holm), result.verdict]
        lines.append(Line(cells, _group_details(group, task)))
    return Block(
        title=f"{_title(task.task, task.lab, task.primary, task.higher_is_better)}, "
        f"{_size(task.n, task.clusters)}",
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
    details += _secondary({k: _number(v) for k, v in group.metrics.items()}, task.primary)
    if 0 < len(group.categories) <= CATEGORIES:
        shown = (f"{name} {_number(value)}" for name, value in group.categories.items())
        details.append(f"{task.primary} by category: {'; '.join(shown)}")
    for name, (value, low, high) in group.paired.items():
        bounds = "" if low is None or high is None else f" [{_signed(low)}, {_signed(high)}]"
        details.append(f"{name}: difference {_signed(value)}{bounds}")
    facts = _detectable(group.contrast)
    if len(group.seeds) > 1:
        facts.append(f"mean of {len(group.seeds)} seeds")
    cost = group.cost
    if cost.trainable_parameters:
        share = 100 * cost.trainable_parameters / max(1, cost.total_parameters)
        facts.append(f"{_big(cost.trainable_parameters)} trainable parameters ({share:.3g} %)")
        facts.append(f"{_big(cost.train_tokens)} train tokens")
        facts += [f"not counted: {cost.uncounted}"] * bool(cost.uncounted)
    else:
        facts.append(f"{_big(cost.total_parameters)} parameters, none trained")
    return [*details, _join(facts)]


def _comparison_line(row: Row) -> Line:
    before, after = row.metrics.get(row.primary, (None, None))
    cells = [_marked(row.place, row.lab), _number(before), _number(after)]
    result = row.contrast
    cells += [_difference(result), _p(result.p_holm)] if result else ["", ""]
    pairs = {name: f"{_number(a)} -> {_number(b)}" for name, (a, b) in row.metrics.items()}
    details = _secondary(pairs, row.primary)
    for name, test in row.corpus.items():
        bootstrap, randomization = _p(test.p_bootstrap), _p(test.p_randomization)
        details.append(
            f"{name} {_number(test.a)} -> {_number(test.b)}: p {bootstrap} (paired bootstrap), "
            f"{randomization} (approximate randomization)"
        )
    if result:
        details.append(_join([_size(result.n, result.clusters), *_detectable(result)]))
    return Line([*cells, row.verdict], details)


def _size(n: int, clusters: int) -> str:
    items = _count(n, "item")
    return f"{items} in {_count(clusters, 'cluster')}" if clusters < n else items


def _detectable(contrast: Contrast | None) -> list[str]:
    size = contrast.detectable if contrast else None
    return [] if size is None else [f"detectable from {_number(size)}"]


def _footnotes(tested: int, lab: bool) -> list[str]:
    notes = []
    if tested:
        over = f" over {tested} comparisons" if tested > 1 else ""
        notes.append(
            f"[95 % interval]; p after Holm{over}; a verdict where p < {ALPHA}; "
            "detectable: smallest true difference found with 80 % power."
        )
    if lab:
        notes.append("lab: a small made-up world, not the public benchmark of that name.")
    return notes


def _title(task: str, lab: bool, primary: str, higher_is_better: bool) -> str:
    direction = "↑ higher is better" if higher_is_better else "↓ lower is better"
    return f"{_marked(task, lab)}: {primary} {direction}"


def _marked(name: str, lab: bool) -> str:
    return f"{name} (lab)" if lab else name


def _number(value: float | None) -> str:
    """Three decimals, fewer for large numbers."""
    decimals = 3 if value is None or abs(value) < 10 else 2 if abs(value) < 100 else 1
    return "-" if value is None else f"{value:.{decimals}f}"


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else ''}{_number(value)}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"


def _difference(contrast: Contrast) -> str:
    if contrast.difference is None:
        return "undefined"
    if contrast.low is None or contrast.high is None:
        return _signed(contrast.difference)
    bounds = f"[{_signed(contrast.low)}, {_signed(contrast.high)}]"
    return f"{_signed(contrast.difference)} {bounds}"


def _p(p: float | None) -> str:
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _big(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _secondary(metrics: dict[str, str], primary: str) -> list[str]:
    shown = [f"{name} {value}" for name, value in metrics.items() if name != primary]
    return [_join(shown)] if shown else []


def _join(parts: Iterable[str]) -> str:
    # No-break spaces: a wrapped line never parts a name from its value.
    return "; ".join(part.replace(" ", "\u00a0") for part in parts)


def _render(block: Block, width: int, ascii_only: bool) -> Iterable[Text]:
    from rich.cells import cell_len

    rows = [block.header, *(line.cells for line in block.lines)] if block.header else []
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    rest = sum(widths[1:]) + len(GAP) * len(widths[1:])
    first = min(max(widths[:1], default=0), max(width - rest, len(INDENT)))
    widths[:1] = [first] if widths else []
    yield from _wrapped(block.title, "", width, ascii_only, "bold")
    if block.header:
        yield _cells(block.header, widths, "dim")
    for line in block.lines:
        cells = line.cells
        if not block.header or cell_len(cells[0]) > first:
            yield from _wrapped(cells[0], GAP, width, ascii_only, "")
            cells = ["", *cells[1:]]
        if block.header:
            yield _cells(cells, widths, "")
        for detail in line.details:
            yield from _wrapped(detail, INDENT, width, ascii_only, "dim")
    for note in block.notes:
        yield from _wrapped(note, "", width, ascii_only, "dim italic")


def _cells(cells: Sequence[str], widths: Sequence[int], style: str) -> Text:
    from rich.text import Text

    line = Text(style=style, no_wrap=True, overflow="ellipsis")
    for position, (cell, size) in enumerate(zip(cells, widths, strict=True)):
        text = Text(cell, style=STYLES.get(cell, ""))
        text.pad_right(max(0, size - text.cell_len))
        line.append(GAP if position else "").append_text(text)
    line.rstrip()
    return line


def _wrapped(text: str, indent: str, width: int, ascii_only: bool, style: str) -> Iterable[Text]:
    """Wrap at ordinary spaces; ASCII where the output has no arrows."""
    import textwrap

    from rich.text import Text

    if ascii_only:
        text = text.replace("↑ ", "").replace("↓ ", "")
    wrapper = textwrap.TextWrapper(
        max(20, width), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    for line in wrapper.wrap(text):
        yield Text(line.replace("\u00a0", " "), style=style, no_wrap=True)
