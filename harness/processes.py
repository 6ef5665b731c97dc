"""The processes of a run: one, or those that torchrun started. Imports torch only for several."""

import os


def count() -> int:
    """How many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this one records, prints and writes what all share."""
    return index() == 0


def start() -> None:
    """Join the other processes, if there are any; before the first `wait`."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier()
