"""Datasets from files, folders and the hub, with their pictures found but not yet read."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import overload

from harness import registry
from harness.compact import Lazy
from harness.dataset import Dataset, Row
from harness.errors import DataError, suggestion
from harness.hub import HubDataset
from harness.mixtures import MIXTURES, Mixture
from harness.parallel import BranchSplit, ParallelText, language_files, sacrebleu_test_set
from harness.picture_cells import REFERENCE, resolve_picture
from harness.records import SUFFIXES, Record, is_missing, kind_of, nearest_file, open_records

SPLIT = "all"
"""The one split of a file or a folder."""

SPLIT_NAMES = ("train", "training", "dev", "val", "valid", "validation", "test")
"""What files of a folder are called that is read by splits."""

SACREBLEU, BRANCHES = "sacrebleu:", ":branches"
"""What a name begins with for sacrebleu's own test sets, and ends with for a split taxonomy."""

EMBEDDED = "lab/"
"""What the names of embedded datasets begin with; the hub has none of them."""

_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")


def open_dataset(spec: str, revision: str | None = None) -> Dataset:
    """A dataset by file, folder or hub name; nothing is read before its rows are.

    Args:
        spec: a data file (JSON lines, JSON array, TSV, CSV, parquet, HDF5, npz); a mixture of
            datasets (YAML); a folder, all of whose data files are read in order of their names,
            or a folder of files or folders that are named after splits (`train.jsonl`, `test/`);
            the prefix `news` of parallel text files `news.en` and `news.de`; a test set of
            sacrebleu's, `sacrebleu:wmt20/en-de`; or a hub name `owner/name`, with a configuration
            `owner/name:config`. With `:branches` after it a taxonomy is split by its branches.
        revision: the hub's commit; files have none.

    Raises:
        DataError: where there is no such file or folder and it is no hub name either.
    """
    path = Path(os.path.expanduser(spec))
    if os.path.exists(path):  # unlike Path.exists, False for overlong names
        if revision is not None:
            raise DataError(f"{spec}: a revision is for hub names, and this is a local path.")
        if path.suffix.lower() in MIXTURES:
            return Mixture(path)
        splits = split_places(path)
        return SplitFolder(path, splits) if splits else FileDataset(path)
    if spec.endswith(BRANCHES):
        return BranchSplit(open_dataset(spec.removesuffix(BRANCHES), revision))
    if spec.startswith(SACREBLEU):
        return sacrebleu_test_set(spec.removeprefix(SACREBLEU))
    if files := language_files(path):
        return ParallelText(path.name, files)
    if spec.startswith(EMBEDDED):
        near = suggestion(spec, registry.names("datasets")) or nearest_file(path)
        raise DataError(
            f"{spec}: no such file or folder, and not embedded. {near}"
            "`harness list datasets` shows what is."
        )
    hub = _HUB.fullmatch(spec)
    if hub is None or kind_of(path) in (*SUFFIXES, *MIXTURES) or spec.startswith((".", "~", "/")):
        raise DataError(f"{spec}: no such file or folder. {nearest_file(path)}".rstrip())
    return HubDataset(hub["name"], hub["config"], revision)


def split_places(folder: Path) -> dict[str, Path]:
    """Split -> its file or folder, the one to train on first, where all there are named so."""
    if not folder.is_dir():
        return {}
    inside = [p for p in folder.iterdir() if _holds_data(p)]
    named = {p.name.partition(".")[0]: p for p in inside if not p.name.startswith(".")}
    if not named or len(named) < len(inside) or not named.keys() <= set(SPLIT_NAMES):
        return {}
    return {name: named[name] for name in SPLIT_NAMES if name in named}


def _holds_data(path: Path) -> bool:
    """Whether it is a data file or a folder with one; a folder of pictures is neither."""
    files = path.glob("*") if path.is_dir() else [path]
    return any(kind_of(file) in SUFFIXES for file in files)


def pictured(data: Dataset, split: str | None, field: str) -> Sequence[Row]:
    """A split's rows, with what stands under `field` as their `image` and resolved like one."""
    rows = data.rows(split)
    if field == "image":
        return rows
    if isinstance(rows, FileRows):
        return rows.pictured(field)
    places = (data.place(split, index) for index in range(len(rows)))
    named = [(_pictured(row, field), place) for row, place in zip(rows, places, strict=True)]
    return [
        {**row, "image": resolve_picture(row["image"], Path(), place)} if "image" in row else row
        for row, place in named
    ]


def check_apart(data: Dataset, *fields: str) -> None:
    """Raise `DataError` where something stands in two splits of a folder, naming both places.

    It is known by the first of `fields` that a row has; no picture is read. Other datasets have
    no splits, or are divided by their makers.
    """
    if not isinstance(data, SplitFolder):
        return
    known: dict[str, tuple[str, str]] = {}
    for split in data.splits():
        for place, row in data.rows(split).records:
            name = next((str(row[f]) for f in fields if not is_missing(row.get(f))), None)
            if name is None:
                continue
            first, there = known.setdefault(name, (split, place))
            if first != split:
                raise DataError(
                    f"{place}: '{name}' stands at {there} already, in the split '{first}': take it "
                    "out of one of them."
                )


def _pictured(row: Row, field: str) -> Row:
    """A row whose `image` is what stands under another field, which stays where it is empty."""
    if is_missing(row.get(field)):
        return {name: value for name, value in row.items() if name != "image"}
    other = {name: value for name, value in row.items() if name not in ("image", field)}
    return {**other, "image": row[field]}


class SplitFolder(Dataset):
    """A folder whose data files, or folders of them, are named after splits."""

    def __init__(self, path: Path, places: Mapping[str, Path]) -> None:
        self.path = path
        self._parts = {name: FileDataset(place) for name, place in places.items()}

    def splits(self) -> Sequence[str]:
        return list(self._parts)

    def rows(self, split: str | None = None) -> "FileRows":
        return self._part(split).rows()

    def place(self, split: str | None, index: int) -> str:
        return self._part(split).place(None, index)

    def _part(self, split: str | None) -> "FileDataset":
        name = split or next(iter(self._parts))
        if name not in self._parts:
            has = ", ".join(self._parts)
            raise DataError(f"{self.path}: no split '{name}', only {has}.")
        return self._parts[name]


class FileDataset(Dataset):
    """One data file or a folder of them: one split, `all`.

    A row also has `file`, the name of its file. Its `image` is resolved when the row is read: a
    path against the file's folder, then the `images` folder in it (`image_name` keeps what the
    file says); base64 to bytes; another row's index to that row's picture. Pictures of a file of
    arrays stay there until they are opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def splits(self) -> Sequence[str]:
        return (SPLIT,)

    def rows(self, split: str | None = None) -> "FileRows":
        self._check(split)
        return self._rows

    def place(self, split: str | None, index: int) -> str:
        self._check(split)
        return self._rows.place(index)

    @cached_property
    def _rows(self) -> "FileRows":
        return FileRows([(file, open_records(file)) for file in self._files()])

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        files = [file for file in sorted(self.path.iterdir()) if kind_of(file) in SUFFIXES]
        if not files:
            raise DataError(f"{self.path}: has no data file ({', '.join(SUFFIXES)}).")
        return files

    def _check(self, split: str | None) -> None:
        if split not in (None, SPLIT):
            raise DataError(f"{self.path}: no split '{split}': a file or folder has only 'all'.")


class FileRows(Sequence[Row]):
    """Rows whose pictures are resolved as each is read; encoded ones stay encoded until then.

    Files are read as far as rows are asked for; their number asks for all.
    """

    def __init__(self, files: Sequence[tuple[Path, Lazy]], field: str = "image") -> None:
        self._files = files
        self._field = field

    @property
    def records(self) -> Iterator[Record]:
        """The records that the rows are made of."""
        return chain.from_iterable(records for _, records in self._files)

    def pictured(self, field: str) -> "FileRows":
        """The same rows, with what stands under another field as their `image`."""
        return FileRows(self._files, field)

    def place(self, index: int) -> str:
        """Where a row stands, for messages."""
        _, records, number = self._at(index)
        return records.place(number)

    def __len__(self) -> int:
        return sum(len(records) for _, records in self._files)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        file, records, number = self._at(index)
        return self._row(file, records[number])

    def __iter__(self) -> Iterator[Row]:
        return (self._row(file, record) for file, records in self._files for record in records)

    def _at(self, index: int) -> tuple[Path, Lazy, int]:
        """A row's file, the records of that, and its number among them."""
        if index < 0:
            index += len(self)
        for file, records in self._files[:-1]:
            if index < len(records):
                return file, records, index
            index -= len(records)
        return *self._files[-1], index

    def _row(self, file: Path, record: Record) -> Row:
        place, fields = record
        if self._field != "image":
            fields = dict(_pictured(fields, self._field))
        row = {"file": file.name, **fields}
        picture = fields.get("image") or fields.get("image_path")
        if isinstance(picture, str):
            picture = self._referred(file, fields, picture, place)
        if picture is not None:
            resolved = resolve_picture(picture, file.parent, place)
            if isinstance(resolved, Path):
                row["image_name"] = picture
            row["image"] = resolved
        return row

    def _referred(self, file: Path, fields: Row, picture: str, place: str) -> str:
        """The picture itself where a cell names the index of the row that holds it.

        Only rows with an index of their own name others', so that others need not be read.
        """
        if len(picture) > REFERENCE or fields.get("index") is None:
            return picture
        found = self._by_index.get(file, {}).get(picture)
        if found is None:
            return picture
        target = dict(self._files)[file][found].fields.get(self._field)
        if not isinstance(target, str) or len(target) <= REFERENCE:
            raise DataError(f"{place}: its picture is row '{picture}', which holds none itself.")
        return target

    @cached_property
    def _by_index(self) -> Mapping[Path, Mapping[str, int]]:
        """File -> index of a row -> its number there; checks that no index stands twice."""
        found: dict[Path, dict[str, int]] = {}
        for file, records in self._files:
            known = found.setdefault(file, {})
            for number, (place, fields) in enumerate(records):
                if fields.get("index") is None:
                    continue
                key = str(fields["index"])
                if key in known:
                    first = records[known[key]].place
                    raise DataError(f"{place}: index '{key}' stands at {first} already.")
                known[key] = number
        return found
