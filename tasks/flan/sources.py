"""Rows of a source by split and subject, made those that lm-eval's task files expect."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from harness.dataset import Dataset, Row
from harness.errors import DataError, suggestion
from harness.reading import read_text
from harness.sources import SPLIT_NAMES, HubDataset

CARDS = Path(__file__).parent / "cards"

Config = Mapping[str, Any]
"""Of a task's file."""


class Placed(NamedTuple):
    """A row and where it stands."""

    place: str
    row: Mapping[str, Any]
    subject: str


class Rows:
    """The rows of a source, each split read once.

    Args:
        prepare: makes a row one that the task's file expects, from the row and its place.
    """

    def __init__(
        self, data: Dataset, prepare: Callable[[Row, str], Row] | None, ids: frozenset[str]
    ) -> None:
        self._data = data
        self._prepare = prepare
        self._ids = ids
        self._read: dict[str | None, list[Placed]] = {}

    @cached_property
    def splits(self) -> Sequence[str]:
        return self._data.splits()

    @property
    def from_hub(self) -> bool:
        return isinstance(self._data, HubDataset)

    def of(self, split: str | None) -> Sequence[Placed]:
        if split not in self._read:
            self._read[split] = list(self._placed(split))
        return self._read[split]

    def scored(self, split: str | None) -> Sequence[Placed]:
        """The rows of a split that have one of the ids asked for: all where none are."""
        found = self.of(split)
        if not self._ids:
            return found
        chosen = [each for each in found if str(each.row.get("id")) in self._ids]
        if not chosen:
            raise DataError(
                f"{self._data.place(split, 0)}: none of the {len(found)} rows has one of the "
                f"{len(self._ids)} ids that are scored: give --option TASK.ids=null to score all."
            )
        return chosen

    def _placed(self, split: str | None) -> Iterator[Placed]:
        for index, row in enumerate(self._data.rows(split)):
            place = self._data.place(split, index)
            made = self._prepare(row, place) if self._prepare else row
            fields = {key: made[key] for key in made if key != "file"}
            yield Placed(place, fields, subject_of(row))


def subject_of(row: Row) -> str:
    """A row's `subject`, else the name of its file without its split: `anatomy_test.csv`."""
    stem = str(row.get("file") or "").partition(".")[0]
    return str(row.get("subject") or re.sub(rf"_({'|'.join(SPLIT_NAMES)})$", "", stem))


def of_subject(rows: Sequence[Placed], config: Config, names: Sequence[str]) -> Sequence[Placed]:
    """The rows of one task of a group, whose tasks have `names`; of a single task, all rows.

    Raises `DataError` for a row of no task, and for a group of several data sets.
    """
    name = config.get("dataset_name")
    if len(names) == 1:
        return [each for each in rows if each.subject == name] or rows
    if not name or len(set(names)) < len(names):
        raise DataError(
            f"lm-eval's '{config['task']}' is one of {len(names)} tasks on data sets of their own: "
            "score each by its own name, with a source of its own."
        )
    for place, _, subject in rows:
        if subject not in names:
            raise DataError(
                f"{place}: subject '{subject}' is none of the {len(names)} that are asked. "
                f"{suggestion(subject, names)}It is the row's `subject`, or the name of its file."
            )
    return [each for each in rows if each.subject == name]


def read_ids(file: str | None) -> frozenset[str]:
    """The ids that a file lists, a line each or as JSON; ours lie beside the cards."""
    if file is None:
        return frozenset()
    path = CARDS / file if os.path.isfile(CARDS / file) else Path(file)
    try:
        text = read_text(path)
        found = json.loads(text) if path.suffix == ".json" else text.split()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise DataError(f"{path}: no list of ids ({error}).") from None
    if not found or not isinstance(found, list | dict):
        raise DataError(f"{path}: has no ids.")
    return frozenset(map(str, found))


def of_hub(data: HubDataset, config: Config, first: Config) -> HubDataset:
    """The data set of one task of a group on the hub: its file's own, else its configuration."""
    own = data.name == first.get("dataset_path")
    name = str(config.get("dataset_path")) if own else data.name
    return HubDataset(name, config.get("dataset_name"), data.revision)
