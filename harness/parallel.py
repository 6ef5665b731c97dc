"""Parallel text: what a row says in two languages; plain text files; a taxonomy's branches."""

import hashlib
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.dataset import Dataset, Row
from harness.errors import DataError, suggestion
from harness.reading import byte_lines, decoded
from harness.records import is_missing, require

SOURCES = ("source", "src")
TARGETS = ("target", "reference", "ref")
"""Columns of a row that does not name its languages."""

TEST, DEV = 0.9, 0.8
"""From where on the hash of a branch, in [0, 1), means test, and below that dev."""

NO_LANGUAGES = frozenset({"bak", "csv", "gz", "log", "md", "old", "py", "tsv", "txt", "xz", "zip"})
"""Endings of files that only look like the code of a language."""

_CODE = re.compile(r"(?:ref[\w-]*\.)?(?P<language>[A-Za-z]{2,3}(?:[-_][A-Za-z]{2,4})?)")


def parallel_text(row: Row, source: str, target: str, place: str) -> tuple[str, str]:
    """A row's text in two languages, by their codes; of several references the first.

    Raises:
        DataError: beginning with `place`, where a text is not there, empty or no text.
    """
    text, references = parallel_texts(row, source, target, place)
    return text, next(iter(references.values()))


def parallel_texts(row: Row, source: str, target: str, place: str) -> tuple[str, dict[str, str]]:
    """A row's source text, and name -> text of its references, first the one to train on.

    A row is {source, target} (also `src`; `reference`, `ref`), {source, refs: {name: text}},
    {code: text} or {translation: {code: text}}. With codes, further references stand in columns
    that end with the code: `ref2.de`. An empty further reference is left out.

    Raises:
        DataError: beginning with `place`, where a text is not there, empty or no text.
    """
    fields = row.get("translation", row)
    if not isinstance(fields, Mapping):
        raise DataError(f"{place}: 'translation' is a {_kind(fields)}, not code -> text.")
    named = any(name in fields for name in SOURCES)
    if source in fields or target in fields or not named:
        _check_languages(fields, place, source, target)
        text = _text(fields, place, source)
        further = [name for name in fields if str(name).endswith(f".{target}")]
        return text, _references(fields, place, target, further)
    text = _text(fields, place, *SOURCES)
    refs = fields.get("refs")
    if refs is None:
        return text, {TARGETS[0]: _text(fields, place, *TARGETS)}
    if not isinstance(refs, Mapping) or not refs:
        raise DataError(f"{place}: 'refs' is a {_kind(refs)}, not name -> text.")
    first, *further = refs
    return text, _references(refs, place, first, further)


def _check_languages(fields: Mapping[str, Any], place: str, *codes: str) -> None:
    """Raise `DataError` for a code that is no column, with the same language's or a near one."""
    for code in codes:
        if code not in fields:
            columns = list(map(str, fields))
            regional = [name for name in columns if re.split("[-_]", name)[0] == code[:2].lower()]
            near = suggestion(code, columns)
            if regional and not near:
                near = f"Did you mean '{regional[0]}'? "
            has = ", ".join(columns)
            raise DataError(f"{place}: there is no language '{code}'. {near}It has: {has}.")


def _references(
    fields: Mapping[str, Any], place: str, first: str, further: Sequence[str]
) -> dict[str, str]:
    given = [name for name in further if not is_missing(fields[name])]
    return {name: _text(fields, place, name) for name in (first, *given)}


def _text(fields: Mapping[str, Any], place: str, *names: str) -> str:
    """The text under the first of `names` that is there; `nan` is a word like any other."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value
        if not is_missing(value):
            raise DataError(f"{place}: '{name}' is a {_kind(value)}, not text.")
    return str(require(fields, place, *names))


def _kind(value: Any) -> str:
    return "blank" if value in ({}, []) else type(value).__name__


class ParallelText(Dataset):
    """Plain text files that say the same line by line: one split, rows of {column: line}.

    Args:
        name: how messages call the files together.
        files: column (a language's code) -> file, UTF-8, also gzipped.
    """

    def __init__(self, name: str, files: Mapping[str, Path]) -> None:
        self.name = name
        self.files = files

    def splits(self) -> Sequence[str]:
        return ("all",)

    def rows(self, split: str | None = None) -> Sequence[Row]:
        if split not in (None, "all"):
            raise DataError(f"{self.name}: no split '{split}': parallel text has only 'all'.")
        return self._rows

    def place(self, split: str | None, index: int) -> str:
        return f"{self.name} line {index + 1}"

    @cached_property
    def _rows(self) -> list[Row]:
        columns = {column: read_lines(path) for column, path in self.files.items()}
        (first, lines), *others = columns.items()
        for column, other in others:
            if len(other) != len(lines):
                raise DataError(
                    f"{self.files[column].name}: has {len(other)} lines, but "
                    f"{self.files[first].name} has {len(lines)}: parallel text has equally many."
                )
        if not lines:
            raise DataError(f"{self.name}: is empty, it has no line.")
        return [
            dict(zip(columns, texts, strict=True)) for texts in zip(*columns.values(), strict=True)
        ]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, cut at line feeds alone; errors begin with file and line."""
    try:
        lines = [
            decoded(raw, f"{path.name} line {number}").rstrip("\r\n")
            for number, raw in enumerate(byte_lines(path), start=1)
        ]
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path.name}: cannot be read ({reason}).") from None
    return lines


def language_files(prefix: Path) -> dict[str, Path]:
    """Code -> file beside each other: `news.en` and `news.de` of the prefix `news`.

    A further reference is `news.ref2.de`. Nothing where there is no such file.

    Raises:
        DataError: where there is a file of one language alone.
    """
    found = {}
    for path in sorted(prefix.parent.iterdir()) if os.path.isdir(prefix.parent) else ():
        code = path.name.removeprefix(f"{prefix.name}.").removesuffix(".gz")
        match = _CODE.fullmatch(code)
        if path.name != code and match and match["language"].lower() not in NO_LANGUAGES:
            found[code] = path
    if len(found) == 1:
        (only,) = found.values()
        raise DataError(f"{prefix}: there is only {only.name}: the text in another language lacks.")
    return found


def sacrebleu_test_set(name: str) -> ParallelText:
    """One of sacrebleu's own test sets, `wmt20/en-de`, where sacrebleu has it on disk.

    Raises:
        DataError: where there is no such set or pair; where it is not on disk, with the command
            that downloads it.
    """
    from sacrebleu.dataset import DATASETS

    spec, (test_set, _, pair) = f"sacrebleu:{name}", name.rpartition("/")
    if test_set not in DATASETS:
        near = suggestion(test_set, DATASETS)
        raise DataError(f"{spec}: no test set '{test_set}'. {near}`sacrebleu --list` shows all.")
    dataset = DATASETS[test_set]
    if pair not in dataset.langpairs:
        pairs = ", ".join(dataset.langpairs)
        raise DataError(
            f"{spec}: no '{pair}'. {suggestion(pair, dataset.langpairs)}It has: {pairs}."
        )
    source, target = pair.split("-", maxsplit=1)
    # What sacrebleu itself scores against; its public way to the files downloads what lacks.
    chosen = getattr(dataset, "_get_langpair_allowed_refs", None)
    first, *further = (
        chosen(pair)
        if chosen
        else [field for field in dataset.fieldnames(pair) if field.startswith("ref")]
    )
    fields = {source: "src", target: first, **{f"{each}.{target}": each for each in further}}
    files = {column: Path(dataset._get_txt_file_path(pair, fields[column])) for column in fields}
    if not all(path.exists() for path in files.values()):
        raise DataError(
            f"{spec}: is not on this disk. `sacrebleu --download {test_set} -l {pair}` gets it."
        )
    documents = Path(dataset._get_txt_file_path(pair, "docid"))
    return ParallelText(spec, {**files, "doc": documents} if documents.exists() else files)


class BranchSplit(Dataset):
    """A taxonomy in train, dev and test, so that no branch of its second level is in two of them.

    The branch of a row is the first two parts of its id: `ap-2` of `ap-2-1-3`. Its hash alone says
    where it belongs: a tenth of the branches to test, a tenth to dev. What stands above the second
    level is for training. Rows also have their branch as `doc`, since they are not independent.
    """

    def __init__(self, taxonomy: Dataset) -> None:
        self.taxonomy = taxonomy

    def splits(self) -> Sequence[str]:
        return ("train", "dev", "test")

    def rows(self, split: str | None = None) -> Sequence[Row]:
        return [row for _, row in self._of(split)]

    def place(self, split: str | None, index: int) -> str:
        return self.taxonomy.place(None, self._of(split)[index][0])

    def _of(self, split: str | None) -> list[tuple[int, Row]]:
        name = split or self.splits()[0]
        if name not in self.splits():
            near = suggestion(name, self.splits())
            raise DataError(f"no split '{name}'. {near}It has: {', '.join(self.splits())}.")
        return self._rows[name]

    @cached_property
    def _rows(self) -> dict[str, list[tuple[int, Row]]]:
        """Split -> rows with their number in the taxonomy."""
        found: dict[str, list[tuple[int, Row]]] = {name: [] for name in self.splits()}
        for index, row in enumerate(self.taxonomy.rows()):
            parts = str(require(row, self.taxonomy.place(None, index), "id")).split("-")
            branch = "-".join(parts[:2])
            split = _split_of(branch) if len(parts) > 1 else "train"
            found[split].append((index, {**row, "doc": branch}))
        for name, rows in found.items():
            if not rows:
                raise DataError(
                    f"{self.taxonomy.place(None, 0)}: too few branches for the split '{name}': an "
                    "id must be a path like 'ap-2-1', and a taxonomy has dozens of branches."
                )
        return found


def _split_of(branch: str) -> str:
    position = int(hashlib.md5(branch.encode()).hexdigest()[:8], 16) / 2**32
    return "test" if position >= TEST else "dev" if position >= DEV else "train"
