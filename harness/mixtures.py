"""Mixtures: sources, templates and weights become rows of prompt and answer."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.parallel import read_lines
from harness.recipes import Expression, Part, Recipe, expression, read_recipe
from harness.records import SUFFIXES, is_missing, kind_of
from harness.templates import Template, find_templates, template

SPLIT = "all"
MIXTURES = (".yaml", ".yml")
"""What a mixture's file name ends with."""


class Mixture(Dataset):
    """Rows of several sources by their weights: `prompt`, `answer`, `task`; one split, `all`.

    A part gives its share of the rows, rounded by the largest remainders: each of its rows in
    random order, and all of them again where the share is larger. Each row goes through one of
    its part's templates, drawn at random. All is decided by the seed and the sources.

    Args:
        path: the YAML file, see `Recipe` and `Part`.
        within: the mixtures that this one is a part of.
        summary: one line for `harness list datasets`, of a mixture that is registered.
    """

    def __init__(self, path: Path, within: Sequence[Path] = (), summary: str = "") -> None:
        self.path = path
        self.summary = summary
        self._within = (*within, path.resolve())

    @property
    def lab(self) -> bool:  # type: ignore[override]
        """Whether a part's rows are made up."""
        return any(part.dataset.lab for part in self._parts)

    @property
    def sources(self) -> Sequence[str]:
        """The parts' sources as its file names them."""
        return [part.source for part in self._recipe.parts]

    def splits(self) -> Sequence[str]:
        return (SPLIT,)

    def rows(self, split: str | None = None) -> Sequence[Row]:
        self._check(split)
        return [row for row, _ in self._drawn]

    def place(self, split: str | None, index: int) -> str:
        self._check(split)
        return f"{self.path.name} row {index + 1} (of {self._drawn[index][1]})"

    def _check(self, split: str | None) -> None:
        if split not in (None, SPLIT):
            raise DataError(f"{self.path.name}: no split '{split}': a mixture has only 'all'.")

    @cached_property
    def _recipe(self) -> Recipe:
        return read_recipe(self.path)

    @cached_property
    def _parts(self) -> "list[_Part]":
        return [
            self._part(part, f"{self.path.name} part {number}")
            for number, part in enumerate(self._recipe.parts, start=1)
        ]

    def _part(self, part: Part, place: str) -> "_Part":
        folder = self.path.parent
        if isinstance(part.templates, str):
            templates = find_templates(part.templates, folder)
        else:
            templates = tuple(
                template(pair.prompt, pair.answer, f"{place} template {number}")
                for number, pair in enumerate(part.templates, start=1)
            )
        fields = {
            name: expression(text, f"{place}: field '{name}'") for name, text in part.fields.items()
        }
        return _Part(part, place, self._open(part, place), fields, templates)

    def _open(self, part: Part, place: str) -> Dataset:
        from harness.opening import open_data

        path = self.path.parent / os.path.expanduser(part.source)
        if part.columns is not None:
            return PlainTable(path, part.columns)
        if path.suffix.lower() in MIXTURES:
            if path.resolve() in self._within:
                raise DataError(f"{place}: {path.name} would be a part of itself.")
            return Mixture(path, self._within)
        local = os.path.exists(path) or kind_of(path) in SUFFIXES
        return open_data(str(path) if local else part.source, part.revision)

    @cached_property
    def _drawn(self) -> list[tuple[Row, str]]:
        """Every row with its source's place, in the order of the mixture."""
        parts, recipe = self._parts, self._recipe
        weighted = [part.part.weight for part in parts if part.part.weight is not None]
        if weighted and len(weighted) < len(parts):
            raise DataError(f"{self.path.name}: give a weight to every part, or to none.")
        sizes = [part.size for part in parts]
        counts = share_out(recipe.rows or sum(sizes), weighted or sizes)
        drawn = []
        for number, (part, count) in enumerate(zip(parts, counts, strict=True), start=1):
            if not count:
                raise DataError(f"{part.place}: its share of the rows is none: raise its weight.")
            drawn += part.draw(count, random.Random(f"{recipe.seed} part {number}"))
        random.Random(f"{recipe.seed} order").shuffle(drawn)
        return drawn


@dataclass(frozen=True)
class _Part:
    """A part of a mixture, opened."""

    part: Part
    place: str
    dataset: Dataset
    fields: Mapping[str, Expression]
    templates: Sequence[Template]

    @cached_property
    def rows(self) -> Sequence[Row]:
        rows = self.dataset.rows(self.part.split)
        if not len(rows):
            raise DataError(f"{self.place}: {self.part.source} has no row.")
        return rows

    @property
    def size(self) -> int:
        """How many different rows it can give."""
        return min(len(self.rows), self.part.limit or len(self.rows))

    def draw(self, count: int, generator: random.Random) -> list[tuple[Row, str]]:
        for each in self.templates:  # what is wrong with one shows, whichever are drawn
            each.render(*self._filled(0))
        chosen = generator.sample(range(len(self.rows)), self.size)
        found = []
        for place in range(count):
            if place and place % len(chosen) == 0:
                generator.shuffle(chosen)
            index = chosen[place % len(chosen)]
            found.append(self._row(index, generator.choice(self.templates)))
        return found

    def _row(self, index: int, chosen: Template) -> tuple[Row, str]:
        row, place = self._filled(index)
        prompt, answer = chosen.render(row, place)
        task = self.part.task or row.get("task")
        if is_missing(task):
            task = self.part.source
        return {"prompt": prompt, "answer": answer, "task": str(task)}, place

    def _filled(self, index: int) -> tuple[Row, str]:
        """A row with its further fields, and where it stands."""
        row = self.rows[index]
        place = self.dataset.place(self.part.split, index)
        return {**row, **{name: value(row, place) for name, value in self.fields.items()}}, place


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """Whole shares of a total by weights, > 0, rounded by the largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


class PlainTable(Dataset):
    r"""A tab-separated file without header or quotes; `\n` in a cell is a line break.

    So Flan's chain-of-thought files are written (`simple_cot_tsv` of its preprocessors).
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = columns

    def splits(self) -> Sequence[str]:
        return (SPLIT,)

    def rows(self, split: str | None = None) -> Sequence[Row]:
        if split not in (None, SPLIT):
            raise DataError(f"{self.path.name}: no split '{split}': a file has only 'all'.")
        return self._rows

    def place(self, split: str | None, index: int) -> str:
        return f"{self.path.name} line {index + 1}"

    @cached_property
    def _rows(self) -> list[Row]:
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise DataError(f"{self.path.name}: `columns` names '{twice[0]}' twice.")
        rows: list[Row] = []
        for index, line in enumerate(read_lines(self.path)):
            cells = line.replace("\\n", "\n").split("\t")
            if len(cells) != len(self.columns):
                raise DataError(
                    f"{self.place(None, index)}: has {len(cells)} cells, `columns` names "
                    f"{len(self.columns)}."
                )
            rows.append(dict(zip(self.columns, cells, strict=True)))
        return rows
