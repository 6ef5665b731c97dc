"""InfoNCE against its equation written as loops, and against open_clip's formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from harness.contrastive import contrastive_loss

SCALE = 7.0
Vectors = list[list[float]]


def unit(generator: torch.Generator, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return functional.normalize(drawn, dim=-1)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def cross_entropy(own: float, all_of_them: list[float]) -> float:
    return math.log(sum(math.exp(value) for value in all_of_them)) - own


def slow_contrastive(images: Vectors, texts: Vectors, same: list[list[bool]]) -> float:
    size, total = len(images), 0.0
    logits = [[SCALE * dot(image, text) for text in texts] for image in images]
    for b in range(size):
        row = [logits[b][j] for j in range(size) if j == b or not same[b][j]]
        column = [logits[i][b] for i in range(size) if i == b or not same[i][b]]
        total += (cross_entropy(logits[b][b], row) + cross_entropy(logits[b][b], column)) / 2
    return total / size


def open_clip_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    labels = torch.arange(len(images))
    of_images = functional.cross_entropy(scale * images @ texts.T, labels)
    of_texts = functional.cross_entropy(scale * texts @ images.T, labels)
    return (of_images + of_texts) / 2


def pair(seed: int, rows: int = 6, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = [unit(generator, rows, 5).to(dtype).requires_grad_() for _ in range(2)]
    return [*vectors, torch.tensor(SCALE, dtype=dtype, requires_grad=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_contrastive_loss_is_open_clips_with_its_gradients(dtype):
    results = []
    for function in (contrastive_loss, open_clip_loss):
        inputs = pair(0, dtype=dtype)
        loss = function(*inputs)
        loss.backward()
        results.append([loss.detach(), *(tensor.grad for tensor in inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_pairs_that_are_right_as_well_are_no_negatives(seed, rows):
    images, texts, scale = pair(seed, rows)
    same = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed)) < 0.4
    found = contrastive_loss(images, texts, scale, same).item()
    expected = slow_contrastive(images.tolist(), texts.tolist(), same.tolist())
    assert found == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_nothing_marked_or_the_diagonal_alone_is_the_plain_loss():
    images, texts, scale = pair(1)
    plain = contrastive_loss(images, texts, scale)
    for same in (torch.zeros(6, 6, dtype=torch.bool), torch.eye(6, dtype=torch.bool)):
        before = same.clone()
        assert torch.equal(contrastive_loss(images, texts, scale, same), plain)
        assert torch.equal(same, before)
    everything = contrastive_loss(images, texts, scale, torch.ones(6, 6, dtype=torch.bool))
    assert everything.item() == pytest.approx(0, abs=1e-12)


def test_contrastive_gradients_agree_with_finite_differences():
    inputs = pair(2, 4)
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 2] = same[3, 1] = True
    assert torch.autograd.gradcheck(lambda *given: contrastive_loss(*given, same), inputs)
