"""Titled tables of text as rich prints them, fitted to the width of the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.shown import shown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

STYLES = {"better": "green", "worse": "bold red", "no evidence": "dim", "unchanged": "dim"}
CHECKPOINT = "this checkpoint: "
ROUGH = " (rough)"
"""What stands around a verdict; its colour is the verdict's."""
GAP = "  "
INDENT = "    "


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


def _plain(block: Block) -> Block:
    """The block with control characters of names, categories and reasons escaped."""
    return Block(
        shown(block.title),
        [shown(cell) for cell in block.header],
        [
            Line([shown(cell) for cell in line.cells], [shown(each) for each in line.details])
            for line in block.lines
        ],
        [shown(note) for note in block.notes],
    )


def _render(block: Block, width: int, ascii_only: bool) -> Iterable[Text]:
    from rich.cells import cell_len

    block = _narrowed(_plain(block), width)
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


def _narrowed(block: Block, width: int) -> Block:
    """The block with last columns as details of their lines, until the others fit."""
    from rich.cells import cell_len

    while len(block.header) > 2:
        rows = [block.header, *(line.cells for line in block.lines)]
        rest = (max(len(GAP) + cell_len(row[i]) for row in rows) for i in range(1, len(rows[0])))
        if len(INDENT) + sum(rest) <= width:
            break
        name = block.header[-1]
        lines = [
            Line(
                line.cells[:-1], [f"{name}: {line.cells[-1]}"] * bool(line.cells[-1]) + line.details
            )
            for line in block.lines
        ]
        block = Block(block.title, block.header[:-1], lines, block.notes)
    return block


def _cells(cells: Sequence[str], widths: Sequence[int], style: str) -> Text:
    from rich.text import Text

    line = Text(style=style, no_wrap=True, overflow="ellipsis")
    for position, (cell, size) in enumerate(zip(cells, widths, strict=True)):
        text = Text(cell, style=STYLES.get(cell.removeprefix(CHECKPOINT).removesuffix(ROUGH), ""))
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
