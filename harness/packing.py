"""Per-item scores as short text that git can keep and any platform writes alike.

A column of n numbers is `ENCODING:DATA`, the first of these that holds it exactly:

    const:3        every value is 3
    u1:q83v...     integers from 0 on, one bit each: big-endian bits, base64, zeros at the end
    u5:q83v...     the same with 5 bits each; any width from 1 to 32
    f32:q83v...    little-endian floats of 32 bits, base64; rounded to 6 significant digits before

Clusters are numbered in the order in which they appear, so their names are not kept. They are a
column like the others or, where that is shorter, `runs:LENGTHS`, the lengths of runs of 1st, 2nd,
3rd ... cluster, or `runs:LENGTHS/NUMBERS` where clusters come back; both are columns again, the
first ending at the last length above 0. In `runs:const:6` the last run may be shorter.

Nothing is compressed: the bytes of zlib differ between builds.
"""

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.schema import Packed

LARGEST = 100_000_000
"""More items than this are taken for a damaged file."""

ROUNDING = 5e-6
"""Share of a number that rounding to 6 significant digits changes at most."""

FLOAT32 = 6e-8
"""The same of 32 bits."""

SMALLEST = 1e-37
"""What is nearer to 0 than this is kept as 0."""

WIDTHS = frozenset(f"u{width}" for width in range(1, 33))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Columns(NamedTuple):
    """Per-item scores as arrays, each [items]."""

    numerator: Floats
    denominator: Floats
    clusters: Ints
    """Number of each item's cluster, from 0 in order of appearance."""


class Totals(NamedTuple):
    """Sums of packed scores, with the most that rounding the items may have moved each."""

    numerator: float
    denominator: float
    counted: int
    """Items whose denominator is not 0."""
    numerator_error: float
    denominator_error: float


def pack(scores: Sequence[tuple[float, float]], clusters: Sequence[str] | None = None) -> Packed:
    """Pack the items' ratios (numerator, denominator) and the names of their clusters.

    An item with the cluster "" is a cluster of its own. Raises `HarnessError` for a score that is
    not finite. Integers from 0 to 2^32 - 1 come back exactly, others to 6 significant digits.
    """
    table = np.array(scores, dtype=np.float64).reshape(-1, 2)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        values = tuple(table[bad[0]].tolist())
        raise HarnessError(
            f"item {bad[0]} has the score {values}: the task's score must be finite."
        )
    numbers = _number(clusters or [""] * len(table))
    if len(numbers) != len(table):
        raise ValueError(f"{len(table)} scores, but {len(numbers)} clusters")
    alone = len(table) == 0 or numbers.max() == len(table) - 1
    return Packed(
        n=len(table),
        numerator=_encode(table[:, 0]),
        denominator=None if (table[:, 1] == 1).all() else _encode(table[:, 1]),
        clusters=None if alone else _encode_clusters(numbers),
    )


def unpack(packed: Packed) -> Columns:
    """The arrays of packed scores; raises `HarnessError` where the text is malformed."""
    n = packed.n
    _check_size(n)
    numerator = _decode(packed.numerator, n)
    denominator = np.ones(n) if packed.denominator is None else _decode(packed.denominator, n)
    numbers = np.arange(n) if packed.clusters is None else _decode_clusters(packed.clusters, n)
    return Columns(numerator, denominator, numbers)


def totals(packed: Packed) -> Totals:
    """The sums of packed scores; raises `HarnessError` where the text is malformed."""
    n = packed.n
    _check_size(n)
    numerator, _, moved = _sums(packed.numerator, n)
    if packed.denominator is None:
        return Totals(numerator, float(n), n, moved, 0.0)
    denominator, counted, other = _sums(packed.denominator, n)
    return Totals(numerator, denominator, counted, moved, other)


@lru_cache(maxsize=4096)
def _sums(text: str, n: int) -> tuple[float, int, float]:
    """A column's sum, its values other than 0, and the most that rounding moved the sum."""
    values = _decode(text, n)
    moved = (ROUNDING + FLOAT32) * float(np.abs(values).sum()) + n * SMALLEST
    return float(values.sum()), int(np.count_nonzero(values)), moved


def _check_size(n: int) -> None:
    if not 0 <= n <= LARGEST:
        raise HarnessError(f"packed scores of {n} items: the file is damaged, restore it.")


def _number(names: Sequence[str]) -> Ints:
    """Order of appearance of each name, [items]; the empty name is new each time."""
    known: dict[Any, int] = {}
    return np.array(
        [known.setdefault(name or position, len(known)) for position, name in enumerate(names)],
        dtype=np.int64,
    )


def _encode(values: Floats | Ints) -> str:
    if len(values) == 0:
        return "const:0"
    if np.abs(values).max() > np.finfo(np.float32).max:
        raise HarnessError("a score beyond 3.4e38 cannot be kept: scale the task's score.")
    if not _whole(values):
        values = np.array([_rounded(value) for value in values.tolist()])
    if (values == values[0]).all():
        return f"const:{values[0]:.10g}"
    if not _whole(values):
        return f"f32:{_text(values.astype('<f4').tobytes())}"
    width = int(values.max()).bit_length()
    shifts = np.arange(width - 1, -1, -1)
    bits = (values.astype(np.int64)[:, None] >> shifts & 1).astype(np.uint8)
    return f"u{width}:{_text(np.packbits(bits).tobytes())}"


def _whole(values: Floats | Ints) -> bool:
    return bool(values.min() >= 0 and values.max() < 2**32 and (values == np.floor(values)).all())


def _rounded(value: float) -> float:
    """Six digits, all of which 32 bits can hold: hence no numbers next to 0, and no -0."""
    rounded = float(f"{value:.6g}")
    return rounded if abs(rounded) >= SMALLEST else 0.0


@lru_cache(maxsize=16)
def _decode(text: str, n: int) -> Floats:
    """The numbers of a column, read-only: what is checked is often unpacked just after."""
    values = _numbers(text, n)
    values.flags.writeable = False
    return values


def _numbers(text: str, n: int) -> Floats:
    encoding, _, data = text.partition(":")
    if encoding == "const":
        try:
            value = float(data)
        except ValueError:
            value = np.nan
        if np.isfinite(value):
            return np.full(n, value)
    elif encoding == "f32":
        values = np.frombuffer(_bytes(text, data, 4 * n), dtype="<f4").astype(np.float64)
        if np.isfinite(values).all():
            return values
    elif encoding in WIDTHS:
        width = int(encoding[1:])
        bits = np.unpackbits(
            np.frombuffer(_bytes(text, data, (n * width + 7) // 8), dtype=np.uint8)
        )
        if not bits[n * width :].any():
            weights = 2.0 ** np.arange(width - 1, -1, -1)
            return bits[: n * width].reshape(n, width).astype(np.float64) @ weights
    raise _malformed(text)


def _encode_clusters(numbers: Ints) -> str:
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    lengths = np.diff(starts, append=len(numbers))
    equal = (lengths[:-1] == lengths[0]).all() and lengths[-1] <= lengths[0]
    runs = f"runs:{_encode(lengths[:1] if equal else lengths)}"
    if (numbers[starts] != np.arange(len(starts))).any():
        runs += f"/{_encode(numbers[starts])}"
    return min(_encode(numbers), runs, key=len)


def _decode_clusters(text: str, n: int) -> Ints:
    if not text.startswith("runs:"):
        numbers = _decode(text, n)
    else:
        lengths_text, numbers_text = _split_runs(text.removeprefix("runs:"))
        lengths = _run_lengths(lengths_text, n)
        if lengths.sum() != n or (lengths < 1).any():
            raise _malformed(text)
        values = (
            np.arange(len(lengths), dtype=np.float64)
            if numbers_text is None
            else _decode(numbers_text, len(lengths))
        )
        numbers = np.repeat(values, lengths)
    # Numbered by appearance: each is at most one above all before it.
    highest = np.maximum.accumulate(np.concatenate([[-1.0], numbers]))
    if (numbers != np.floor(numbers)).any() or (numbers < 0).any() or (np.diff(highest) > 1).any():
        raise _malformed(text)
    return numbers.astype(np.int64)


def _split_runs(text: str) -> tuple[str, str | None]:
    # base64 has slashes too, but no colon: ours is the last before the second column's colon.
    slash = text.rfind("/", 0, max(0, text.rfind(":")))
    return (text, None) if slash < 0 else (text[:slash], text[slash + 1 :])


def _run_lengths(text: str, n: int) -> Ints:
    """Lengths of runs, whose number is not known before: the zeros behind the last are padding."""
    encoding, _, data = text.partition(":")
    if encoding == "const":
        length = _decode(text, 1)[0]
        if length < 1 or length != np.floor(length):
            raise _malformed(text)
        return np.diff(np.append(np.arange(0, n, length), n)).astype(np.int64)
    width = int(encoding[1:]) if encoding in WIDTHS else 0
    if width == 0:
        raise _malformed(text)
    count = len(data.rstrip("=")) * 6 // 8 * 8 // width
    return np.trim_zeros(_decode(text, count), "b").astype(np.int64)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, data: str, size: int) -> bytes:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(text) from None
    if len(decoded) != size:
        raise _malformed(text)
    return decoded


def _malformed(text: str) -> HarnessError:
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    return HarnessError(f"packed scores {shown!r} are damaged: restore the file from git.")
