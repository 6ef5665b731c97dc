"""A task's items from a dataset's rows, checked, and their fingerprint."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image

from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.models.pictures import StoredPicture, picture_key
from harness.reading import check_regular
from harness.records import is_missing
from harness.schema import canonical_json
from harness.task import Item, Task

WHERE = ("file", "image_name")
"""Fields of a row that say where it was read, and not what it is."""


def read_items(
    task: Task, dataset: Dataset, split: str | None = None, limit: int | None = None
) -> list[Item]:
    """The items of a task in the order of their rows, the first `limit` of them.

    Raises `DataError` beginning with the row's place for a malformed row, an id that stands
    twice and a picture that is not there; rows past the limit are not looked at.
    """

    places: dict[str, str] = {}
    shared: dict[bytes, bytes] = {}

    def checked() -> Iterable[Item]:
        for place, item in task.read(dataset, split):
            if item.id in places:
                raise DataError(f"{place}: id '{item.id}' stands at {places[item.id]} already.")
            picture = item.inputs.get("image")
            _check_there(picture, place)
            places[item.id] = place
            if isinstance(picture, bytes):
                # Several questions on one embedded picture hold it once.
                same = shared.setdefault(picture, picture)
                item = replace(item, inputs={**item.inputs, "image": same})
            yield item

    items = list(islice(checked(), limit))
    if not items:
        raise DataError(f"task '{task.card.name}': its source has no item.")
    return items


def check_pictures(dataset: Dataset) -> None:
    """Raise `DataError` at the first row to train on whose picture is not there."""
    for index, row in enumerate(dataset.rows()):
        if isinstance(row.get("image"), Path):
            _check_there(row["image"], dataset.place(None, index))


def _check_there(picture: Any, place: str) -> None:
    if isinstance(picture, Path):
        check_regular(picture, f"{place}: {picture}")
    if isinstance(picture, Path) and not os.path.isfile(picture):  # also of overlong names
        raise DataError(f"{place}: there is no picture {picture}.")


def fingerprint(items: Iterable[Item]) -> str:
    """Hash of what is asked and expected: ids, inputs, references; 16 hex digits.

    A picture counts by its content, wherever it lies; a file that several items share is read once.
    """
    return _hash([item.id, item.inputs, item.reference] for item in items)


def fingerprint_rows(rows: Iterable[Row]) -> str:
    """Hash of the rows of a training set, pictures by content; 16 hex digits."""
    return _hash({key: row[key] for key in row if key not in WHERE} for row in rows)


def _hash(entries: Iterable[Any]) -> str:
    file_key = cache(picture_key)

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return {"picture": file_key(value)}
        if isinstance(value, bytes | Image.Image | StoredPicture):
            return {"picture": picture_key(value)}
        if isinstance(value, Mapping):
            return {str(key): plain(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        if isinstance(value, str):
            return value
        if is_missing(value):
            return None
        whole = isinstance(value, int)  # of any size
        return value if whole or (isinstance(value, float) and isfinite(value)) else str(value)

    total = hashlib.sha256()
    for entry in entries:
        total.update(canonical_json(plain(entry)).encode() + b"\n")
    return total.hexdigest()[:16]
