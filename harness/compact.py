"""Records of a text file, read as far as they are asked for, kept as compact as the file has them.

A million short records as Python objects take ten times the file. Here they stay bytes: each is
parsed and checked once when it is first reached, and parsed again whenever it is asked for.
"""

import zlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

from harness.errors import DataError, HarnessError

BLOCK = 512
"""Records that are parsed at once where all are gone through."""


class Record(NamedTuple):
    """A raw record and where it stands: `pairs.jsonl line 41`."""

    place: str
    fields: dict[str, Any]


class Raw(NamedTuple):
    """A record as the file has it."""

    number: int
    """Of its line or entry, from 1 on."""
    content: bytes
    record: Record


class Form(ABC):
    """How a kind of file writes its records."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def read(self) -> Iterator[Raw]:
        """The records in order, each checked; raises `DataError` beginning with its place."""

    @abstractmethod
    def parse(self, numbers: Sequence[int], contents: bytes) -> Iterable[Record]:
        """Records that `read` gave one after another, from their numbers and joined contents."""

    @abstractmethod
    def place(self, number: int, content: bytes) -> str:
        """Where one of them stands."""


class Lazy(Sequence[Record]):
    """The records of one file, read as far as they are asked for.

    Its length, and an index from the end, ask for all of it. What went wrong once is raised again:
    a file that cannot be read to its end has no length.
    """

    def __init__(self, name: str, source: Iterator[Any]) -> None:
        self._name = name
        self._source: Iterator[Any] | None = source
        self._failure: HarnessError | None = None
        self._kept: list[Record] = []

    def __len__(self) -> int:
        while self._next() is not None:
            pass
        return self._size()

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        self._reach(index)
        (record,) = self._records(index, index + 1)
        return record

    def place(self, index: int) -> str:
        """Where a record stands."""
        self._reach(index)
        return self._place(index)

    def __iter__(self) -> Iterator[Record]:
        at = 0
        while True:
            if at < self._size():
                stop = min(at + BLOCK, self._size())
                yield from self._records(at, stop)
                at = stop
            elif (record := self._next()) is not None:
                at += 1
                yield record
            else:
                return

    def _reach(self, index: int) -> None:
        while index >= self._size():
            if self._next() is None:
                raise IndexError(index)

    def _next(self) -> Record | None:
        """Read one more record; None at the end of the file."""
        if self._failure is not None:
            raise self._failure
        if self._source is None:
            return None
        try:
            found = next(self._source, None)
            if found is None and not self._size():
                raise DataError(f"{self._name}: is empty, it has no record.")
        except HarnessError as error:
            self._failure = error
            raise
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            self._failure = DataError(f"{self._name}: cannot be read ({reason}).")
            raise self._failure from None
        if found is None:
            self._source = None
            return None
        return self._keep(found)

    def _keep(self, found: Any) -> Record:
        self._kept.append(found)
        return self._kept[-1]

    def _size(self) -> int:
        return len(self._kept)

    def _place(self, index: int) -> str:
        return self._kept[index].place

    def _records(self, start: int, stop: int) -> Iterable[Record]:
        return self._kept[start:stop]


class MadeAgain(Lazy):
    """The same, of which nothing is kept: a record is made again whenever it is asked for.

    Args:
        source: the records in order, each checked.
        again: the records from an index to another one, which were checked once.
    """

    def __init__(
        self, name: str, source: Iterator[Record], again: Callable[[int, int], Iterable[Record]]
    ) -> None:
        super().__init__(name, source)
        self._again = again
        self._count = 0

    def _keep(self, found: Record) -> Record:
        self._count += 1
        return found

    def _size(self) -> int:
        return self._count

    def _place(self, index: int) -> str:
        (record,) = self._records(index, index + 1)
        return record.place

    def _records(self, start: int, stop: int) -> Iterable[Record]:
        return self._again(start, stop)


class Compact(Lazy):
    """The same, kept as the bytes that the file has."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.path.name, form.read())
        self._form = form
        self._contents = bytearray()
        self._ends = array("Q")
        self._numbers = array("I")

    def _keep(self, found: Raw) -> Record:
        self._contents += found.content
        self._ends.append(len(self._contents))
        self._numbers.append(found.number)
        return found.record

    def _size(self) -> int:
        return len(self._ends)

    def _records(self, start: int, stop: int) -> Iterable[Record]:
        return self._form.parse(self._numbers[start:stop], self._bytes(start, stop))

    def _place(self, index: int) -> str:
        return self._form.place(self._numbers[index], self._bytes(index, index + 1))

    def _bytes(self, start: int, stop: int) -> bytes:
        return bytes(self._contents[self._ends[start - 1] if start else 0 : self._ends[stop - 1]])
