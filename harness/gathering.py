"""Rows of all processes as one tensor, with gradient: for losses that compare rows of a batch."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness import processes
from harness.errors import HarnessError


def gathered(rows: Tensor) -> Tensor:
    """The rows of every process, those of the first process first; `rows` itself with one.

    Every process must call it, in the same order, with as many rows, and compute the loss of the
    whole batch from what it gets, **without dividing by the number of processes**. The backward
    pass sums what all losses ask of a row, N times its gradient with N processes, and
    `DistributedDataParallel` averages the parameters' gradients, which divides by N. A parameter
    that acts after the gathering (the scale) has its whole gradient in each process, and the
    average is that.

    Args:
        rows: [rows, ...], any dtype that the backend sends.

    Returns:
        [processes x rows, ...].

    Raises:
        HarnessError: processes hold different numbers of rows.
    """
    if processes.count() == 1:
        return rows
    _check_equal(len(rows), rows.device)
    found: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return found


def _check_equal(count: int, device: torch.device) -> None:
    counts = torch.tensor([count], device=device)
    everyones = [torch.empty_like(counts) for _ in range(processes.count())]
    torch.distributed.all_gather(everyones, counts)
    numbers = torch.cat(everyones).tolist()
    if len(set(numbers)) > 1:
        shown = ", ".join(map(str, numbers))
        raise HarnessError(
            f"processes hold {shown} rows of one batch, where each needs as many: give a "
            "train.batch_size that the number of processes divides, and leave out incomplete "
            "batches."
        )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        rows = rows.contiguous()
        everyones = [torch.empty_like(rows) for _ in range(processes.count())]
        torch.distributed.all_gather(everyones, rows)
        return torch.cat(everyones)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        summed = grad.clone(memory_format=torch.contiguous_format)  # others may read `grad`
        torch.distributed.all_reduce(summed)
        start = processes.index() * ctx.count
        return summed[start : start + ctx.count]
