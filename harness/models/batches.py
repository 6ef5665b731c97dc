"""Batch sizes of generation and scoring, halved until memory suffices."""

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from harness import processes
from harness.errors import HarnessError

USUAL = 64
"""Texts or pictures at once, where nobody says otherwise."""
SIGNS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says of a memory that does not suffice, on a GPU or a CPU."""
Item = TypeVar("Item")
Found = TypeVar("Found")
Given = TypeVar("Given")

log = logging.getLogger("harness")


class Sized(Protocol):
    """What has a batch size: a model, or a judge's own setting."""

    batch_size: int


def in_batches(
    sized: Sized, items: Sequence[Item], run: Callable[[Sequence[Item]], Any], each: int = 1
) -> None:
    """Run a function on batches of items; where memory does not suffice, on smaller ones.

    `sized.batch_size` is then what sufficed.

    Args:
        items: in an order that has those of like length together.
        run: called with the items of a batch; with fewer of them after it ran out of memory.
        each: rows of a batch that an item takes, such as samples.

    Raises:
        HarnessError: where one item is too much.
    """
    start = 0
    while start < len(items):
        some = items[start : start + max(1, sized.batch_size // each)]
        if fits(run, some):
            start += len(some)
        else:
            sized.batch_size = halved(len(some)) * each


def with_room(sized: Sized, run: Callable[[int], Found]) -> Found:
    """Return what a function gives for a batch size, which is halved until memory suffices."""
    found: list[Found] = []

    def attempt(size: int) -> None:
        found.append(run(size))

    while not fits(attempt, sized.batch_size):
        sized.batch_size = halved(sized.batch_size)
    return found[0]


def fits(run: Callable[[Given], Any], given: Given) -> bool:
    """Call a function; return False where memory did not suffice, with what it took freed again
    and random numbers as they were."""
    import torch

    cuda = torch.cuda.is_available()
    drawn = torch.get_rng_state(), torch.cuda.get_rng_state() if cuda else None
    try:
        run(given)
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Not in the handler, since the error's frames hold the tensors.
    gc.collect()
    torch.set_rng_state(drawn[0])
    if cuda:
        torch.cuda.empty_cache()
        assert drawn[1] is not None
        torch.cuda.set_rng_state(drawn[1])
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on a GPU or a CPU."""
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError is one
        return any(sign in str(error) for sign in SIGNS)
    return isinstance(error, MemoryError)


def halved(size: int) -> int:
    """Return half of a size that was too much for the memory, and say so.

    Raises:
        HarnessError: where it was 1.
    """
    if size <= 1:
        raise HarnessError(
            "out of memory with one text or picture at a time: take a smaller model, shorter texts "
            "(max_new_tokens, max_length) or a device with more memory."
        )
    message = f"out of memory with {size} at once: going on with {size // 2}."
    log.warning(message)
    if processes.is_main():
        print(message, file=sys.stderr)
    return size // 2
