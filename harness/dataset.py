"""The contract of a dataset: rows to train on, or the raw rows of a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from harness.errors import DataError, suggestion

Row = Mapping[str, Any]
"""One record as its source writes it. Pictures are paths, encoded bytes or PIL images."""


class Dataset(ABC):
    """Rows by split, with a fingerprint of their content.

    A plugin registers an instance under the entry-point group `harness.datasets`. Files and hub
    datasets need no plugin: `harness.sources.open_dataset` reads them.
    """

    lab: ClassVar[bool] = False
    """Whether its rows are made up: a result on them is marked `lab`."""

    @abstractmethod
    def splits(self) -> Sequence[str]:
        """Names of the splits, the first being the one to train on."""

    @abstractmethod
    def rows(self, split: str | None = None) -> Sequence[Row]:
        """All rows of a split (default: the first)."""

    @abstractmethod
    def place(self, split: str | None, index: int) -> str:
        """Where row `index` stands, for messages: `pairs.jsonl line 41`."""

    def truth(self, row: Row, sentences: Sequence[str]) -> list[float]:
        """How true each sentence about `row` is, in [0, 1], where the dataset knows.

        Only worlds with known truth can say this; methods use it for oracle controls alone.
        """
        raise DataError(
            f"dataset {type(self).__name__} does not know which sentences are true: "
            "an oracle control needs an embedded lab dataset."
        )


class EmbeddedDataset(Dataset):
    """A procedural world that ships with a package: splits made by functions, with known truth.

    Args:
        summary: one line for `harness list datasets`.
        splits: name -> what makes the rows, always the same; the first is the one to train on.
        truth: (row, sentences) -> how true each sentence is, where the world knows.
    """

    lab: ClassVar[bool] = True

    def __init__(
        self,
        summary: str,
        splits: Mapping[str, Callable[[], Sequence[Row]]],
        truth: Callable[[Row, Sequence[str]], list[float]] | None = None,
    ) -> None:
        self.summary = summary
        self._splits = splits
        self._truth = truth
        self._rows: dict[str, Sequence[Row]] = {}

    def splits(self) -> Sequence[str]:
        return list(self._splits)

    def rows(self, split: str | None = None) -> Sequence[Row]:
        name = split or self.splits()[0]
        if name not in self._splits:
            raise DataError(
                f"no split '{name}': there are {', '.join(self._splits)}. "
                f"{suggestion(name, self._splits)}".rstrip()
            )
        if name not in self._rows:
            self._rows[name] = self._splits[name]()
        return self._rows[name]

    def place(self, split: str | None, index: int) -> str:
        return f"{split or self.splits()[0]} row {index + 1}"

    def truth(self, row: Row, sentences: Sequence[str]) -> list[float]:
        return self._truth(row, sentences) if self._truth else super().truth(row, sentences)
