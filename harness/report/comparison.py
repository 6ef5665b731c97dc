"""What changed between two states of the leaderboards: a summary, or every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from harness import registry
from harness.compare import Comparison, Refusal, Row, Single
from harness.report.blocks import Block, Line, Tables
from harness.report.cells import (
    TESTED,
    counted,
    detectable,
    difference,
    footnotes,
    join,
    marked,
    number,
    p_value,
    secondary,
    size,
    title,
    verdict,
)

OUTCOMES = ("worse", "better", "no evidence", "unchanged", "new", "vanished", "not compared")
GROUPS, CHANGES, NEW, REASONS = 8, 4, 2, 3
"""Most lines of each kind in a summary: it fits one screen."""
FAMILY = "all whose scores changed"
Entry = Row | Single | Refusal


def comparison_summary(result: Comparison) -> Tables:
    """How many results became what, by family and method, the worst first; then those that changed
    most clearly, what is new, and why others were not compared."""
    blocks = [_counts(result)]
    verdicts = [row for row in result.rows if row.verdict in ("worse", "better")]
    verdicts.sort(key=lambda row: (row.verdict != "worse", _p(row)))
    if verdicts:
        lines = [_line(row, marked(f"{row.task}: {row.question}", row.lab)) for row in verdicts]
        notes = _more(len(lines) - CHANGES)
        blocks.append(Block("", ["", "before", "after", *TESTED], lines[:CHANGES], notes))
    if result.new:
        notes = _more(len(result.new) - NEW)
        blocks.append(_new(result, result.new[:NEW], notes))
    notes = _reasons(result.refused) + _elsewhere(result.rows)
    return Tables([*blocks, Block("", [], [], notes + _notes(result, verdicts))])


def comparison_table(result: Comparison) -> Tables:
    """Every result that changed, with all metrics, and every one that could not be compared."""
    blocks = [_counts(result)]
    for lab, task in dict.fromkeys((row.lab, row.task) for row in result.rows):
        rows = [row for row in result.rows if (row.lab, row.task) == (lab, task)]
        changed = [row for row in rows if row.verdict != "unchanged"]
        block = Block(
            title=title(task, lab, rows[0].primary, rows[0].higher_is_better),
            header=["", "before", "after", *TESTED] if changed else [],
            lines=[_detailed(row) for row in changed],
        )
        if len(changed) < len(rows):
            block.notes.append(f"unchanged: {len(rows) - len(changed)}")
        blocks.append(block)
    if result.new:
        blocks.append(_new(result, result.new, []))
    if result.vanished:
        lines = [
            Line([_name(each)], [join([f"{each.primary} {number(each.value)}"])])
            for each in result.vanished
        ]
        blocks.append(
            Block(
                f"{'Only' if result.across else 'Vanished, only'} in {result.a}: {len(lines)}",
                [],
                lines,
            )
        )
    if result.refused:
        lines = [Line([_name(each)], [each.reason]) for each in result.refused]
        blocks.append(Block(f"Not compared: {len(lines)}", [], lines))
    notes = _elsewhere(result.rows) + _notes(result, result.rows)
    return Tables([*blocks, Block("", [], [], notes)])


def _counts(result: Comparison) -> Block:
    """A line for each family and method, the worst first."""
    heading = f"{result.a} -> {result.b}"
    if result.across:
        heading = f"{result.across}: {heading}"
    groups: dict[tuple[bool, str, str], Counter[str]] = {}
    families: dict[str, str] = {}
    for entry, outcome in _outcomes(result):
        if entry.task not in families:
            families[entry.task] = registry.family(entry.task) or entry.task
        key = (entry.lab, families[entry.task], entry.method)
        groups.setdefault(key, Counter())[outcome] += 1
    if not groups:
        return Block(f"{heading}: nothing to compare, both sides are empty.", [], [])
    order = ("worse", "vanished", "not compared", "better", "no evidence", "new", "unchanged")
    ranked = sorted(groups.items(), key=lambda item: [-item[1][name] for name in order])
    shown = [name for name in OUTCOMES if any(counts[name] for _, counts in ranked)]
    if len(ranked) > GROUPS + 1:
        rest = sum((counts for _, counts in ranked[GROUPS:]), Counter[str]())
        name = f"{len(ranked) - GROUPS} other methods of families"
        ranked = [*ranked[:GROUPS], ((False, name, ""), rest)]
    labels = {"vanished": "only first", "new": "only second"} if result.across else {}
    header = ["", *(labels.get(name, name) for name in shown)]
    lines = [
        Line([marked(f"{family} {method}".strip(), lab), *_cells(counts, shown)])
        for (lab, family, method), counts in ranked
    ]
    if len(ranked) > 1:
        total = sum((counts for _, counts in ranked), Counter[str]())
        lines.append(Line(["all", *_cells(total, shown)]))
    return Block(heading, header, lines)


def _cells(counts: Counter[str], shown: Sequence[str]) -> list[str]:
    return [str(counts[name]) if counts[name] else "" for name in shown]


def _outcomes(result: Comparison) -> Iterable[tuple[Entry, str]]:
    yield from ((row, row.verdict) for row in result.rows)
    yield from ((each, "new") for each in result.new)
    yield from ((each, "vanished") for each in result.vanished)
    yield from ((each, "not compared") for each in result.refused)


def _p(row: Row) -> float:
    return 1.0 if row.contrast is None or row.contrast.p is None else row.contrast.p


def _name(each: Entry) -> str:
    """Task, question and number of seeds."""
    return marked(f"{each.task}: {each.question}{_seeds(each.seeds)}", each.lab)


def _seeds(seeds: Sequence[int | None]) -> str:
    return f", {len(seeds)} seeds" if len(seeds) > 1 else ""


def _line(row: Row, name: str) -> Line:
    before, after = row.metrics.get(row.primary, (None, None))
    cells = [name + _seeds(row.seeds), number(before), number(after)]
    result = row.contrast
    cells += [difference(result), p_value(result.p_holm), verdict(result)] if result else []
    return Line(cells)


def _detailed(row: Row) -> Line:
    """A row with all its metrics and what its test could find."""
    line = _line(row, marked(row.question, row.lab))
    pairs = {name: f"{number(a)} -> {number(b)}" for name, (a, b) in row.metrics.items()}
    line.details += secondary(pairs, row.primary)
    for name, test in row.corpus.items():
        bootstrap, randomization = p_value(test.p_bootstrap), p_value(test.p_randomization)
        line.details.append(
            f"{name} {number(test.a)} -> {number(test.b)}: p {bootstrap} (paired bootstrap), "
            f"{randomization} (approximate randomization), outside Holm's correction"
        )
    if row.contrast:
        facts = [size(row.contrast.n, row.contrast.clusters), *detectable(row.contrast)]
        line.details.append(join(facts))
    return line


def _new(result: Comparison, singles: Sequence[Single], notes: list[str]) -> Block:
    heading = f"{'Only in' if result.across else 'New in'} {result.b}: {len(result.new)}"
    lines = []
    for each in singles:
        against = difference(each.contrast) if each.contrast else ""
        lines.append(Line([_name(each), f"{each.primary} {number(each.value)}", against]))
    return Block(heading, ["", "value", "difference from the baseline"], lines, notes)


def _reasons(refused: Sequence[Refusal]) -> list[str]:
    """Why results were not compared, the most frequent reasons first, without their values."""
    if not refused:
        return []
    kinds = Counter(each.reason.partition(":")[0] for each in refused).most_common()
    some = [f"{reason} ({count})" for reason, count in kinds[:REASONS]]
    some += [f"{len(kinds) - REASONS} other reasons"] * (len(kinds) > REASONS)
    return [f"not compared: {'; '.join(some)}."]


def _elsewhere(rows: Sequence[Row]) -> list[str]:
    """What changed in results whose scores did not."""
    fields: Counter[str] = Counter()
    for row in rows:
        fields.update(row.changed)
    if not fields:
        return []
    some = ", ".join(f"{name} {count}" for name, count in fields.most_common())
    entries = counted(sum(bool(row.changed) for row in rows), "result")
    return [f"unchanged scores, but other fields differ in {entries}: {some}."]


def _more(count: int) -> list[str]:
    return [f"{count} more: --details"] if count > 0 else []


def _notes(result: Comparison, rows: Sequence[Row]) -> list[str]:
    """The footnotes of the rows shown; Holm's family is all that were tested."""
    tested = [row.contrast for row in result.rows if row.contrast]
    lab = any(entry.lab for entry, _ in _outcomes(result))
    if any(row.contrast for row in rows):
        return footnotes(tested, FAMILY, lab)
    return footnotes([], FAMILY, lab)
