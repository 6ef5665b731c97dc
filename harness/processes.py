"""The processes of a run: one, or those that torchrun started. Imports torch only for several."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Read by the libraries when they are imported."""


PATIENCE = 7 * 24 * 3600
"""Seconds that a process waits for the others, or for another run, which may train for days;
torchrun ends all where one has died."""


def count() -> int:
    """How many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this one records, prints and writes what all share."""
    return index() == 0


def quiet_libraries() -> None:
    """Keep what libraries have to say off the screen, unless the user asked for it."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def start() -> None:
    """Join the other processes, if there are any; before the first `wait`."""
    if count() > 1:
        from datetime import timedelta

        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(seconds=PATIENCE))


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier()


def agreed(value: bool, device: "torch.device") -> bool:
    """Return the first process's value in all; each must call it."""
    if count() == 1:
        return value
    import torch

    said = torch.tensor(int(value), device=device)
    torch.distributed.broadcast(said, 0)
    return bool(said)
