"""Two processes with half the batch each against one with the whole."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import launch
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import HarnessError
from harness.gathering import gathered

ROWS = 6


class Towers(nn.Module):
    """A linear tower for each side, and the scale of their similarities."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(5, 3), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sides = self.image(images), self.text(texts)
        one, other = (functional.normalize(side, dim=-1) for side in sides)
        return one, other, self.scale.exp()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.randn(ROWS, width, generator=generator) for width in (5, 4))
    return one.double(), other.double()


def loss_of(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits, labels = scale * images @ texts.T, torch.arange(len(images))
    return functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)


def whole() -> dict[str, Any]:
    towers = Towers().double()
    loss = loss_of(*towers(*batch()))
    loss.backward()
    return {"loss": loss.detach(), "grads": gradients(towers)}


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def half(folder: Path, environment: Mapping[str, str]) -> None:
    """What one of the two processes does."""
    os.environ.update(environment)
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    mine = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    images, texts = (side[mine] for side in batch())
    towers = Towers().double()
    model = nn.parallel.DistributedDataParallel(towers)
    ours, theirs, scale = model(images, texts)
    loss = loss_of(gathered(ours), gathered(theirs), scale)
    loss.backward()
    numbers = gathered(torch.tensor([[rank, 7], [rank, 8]]).T)
    try:
        gathered(torch.zeros(2 + rank, 3))
        error = ""
    except HarnessError as raised:
        error = str(raised)
    found = {"loss": loss.detach(), "grads": gradients(towers), "numbers": numbers, "error": error}
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("halves")
    started = [
        launch.context.Process(target=half, args=(folder, each)) for each in launch.one_of(2)
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(60)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_each_of_two_processes_has_the_loss_of_the_whole_batch(halves):
    for half in halves:
        torch.testing.assert_close(half["loss"], whole()["loss"], rtol=1e-12, atol=0)


def test_averaged_gradients_are_those_of_the_whole_batch(halves):
    expected = whole()["grads"]
    assert all(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for half in halves:
        assert half["grads"].keys() == expected.keys()
        for name, gradient in half["grads"].items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-12)


def test_rows_stand_in_the_order_of_processes_whatever_their_type_and_strides(halves):
    for half in halves:
        assert half["numbers"].tolist() == [[0, 0], [7, 8], [1, 1], [7, 8]]


def test_processes_with_different_numbers_of_rows_are_told_so(halves):
    for half in halves:
        assert half["error"].startswith("processes hold 2, 3 rows of one batch")
        assert "\n" not in half["error"]


def test_one_process_gets_its_own_rows_back():
    rows = torch.ones(2, 3, requires_grad=True)
    assert gathered(rows) is rows
