"""Concept images against full matrices and greedy loops; vectors of whole numbers make ties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.errors import DataError
from methods.fashionklip import concept_images as module
from methods.fashionklip.concept_images import concept_images, mmr, nearest, random_images


def whole(seed: int, *shape: int) -> Tensor:
    """Small whole numbers: products are exact, and many are equal."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).float()


def unit(seed: int, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


@given(
    seed=st.integers(0, 10_000),
    prompts=st.integers(0, 7),
    pictures=st.integers(1, 40),
    k=st.integers(1, 12),
    block=st.integers(1, 45),
)
@settings(max_examples=80, deadline=None)
def test_nearest_is_a_stable_sort_of_the_full_matrix(seed, prompts, pictures, k, block):
    asked, pool = whole(seed, prompts, 3), whole(seed + 1, pictures, 3)
    scores, places = nearest(asked, pool, k, block)
    expected = (asked @ pool.T).sort(dim=1, descending=True, stable=True)
    assert torch.equal(scores, expected.values[:, :k])
    assert torch.equal(places, expected.indices[:, :k])
    top = (asked @ pool.T).topk(min(k, pictures), dim=1).values
    assert torch.equal(scores, top)


def test_many_prompts_are_asked_in_blocks_too(monkeypatch):
    asked, pool = unit(0, 11, 8), unit(1, 300, 8)
    at_once = nearest(asked, pool, 5)
    images = concept_images(asked, pool, 4, 9)
    monkeypatch.setattr(module, "PROMPTS", 4)
    for found, expected in zip(nearest(asked, pool, 5, block=64), at_once, strict=True):
        torch.testing.assert_close(found, expected)
    assert torch.equal(concept_images(asked, pool, 4, 9), images)


def test_no_tensor_of_the_search_is_larger_than_a_block():
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple) else (out,):
                if isinstance(each, Tensor) and each._base is None:
                    largest = max(largest, each.numel())
            return out

    asked, pool = unit(0, 50, 4), unit(1, 4000, 4)
    with Watch():
        nearest(asked, pool, 5, block=100)
    assert largest == 50 * 100


def test_a_pool_in_half_precision_is_searched_in_the_prompts_precision():
    asked, pool = unit(0, 3, 8), unit(1, 50, 8).half()
    for found, expected in zip(nearest(asked, pool), nearest(asked, pool.float()), strict=True):
        assert torch.equal(found, expected)
    assert concept_images(asked, pool).shape == (3, 10)


def slow_mmr(relevance: list[float], vectors: Tensor, k: int, weight: float) -> list[int]:
    similarity = (vectors @ vectors.T).tolist()
    chosen: list[int] = []
    for _ in range(min(k, len(relevance))):
        best, best_gain = -1, -float("inf")
        for j, relevant in enumerate(relevance):
            if j in chosen:
                continue
            gain = relevant
            if chosen:
                redundancy = max(similarity[j][i] for i in chosen)
                gain = weight * relevant - (1 - weight) * redundancy
            if gain > best_gain:
                best, best_gain = j, gain
        chosen.append(best)
    return [chosen[i % len(chosen)] for i in range(k)]


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 4),
    candidates=st.integers(1, 12),
    k=st.integers(1, 14),
    weight=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
@settings(max_examples=80, deadline=None)
def test_mmr_is_the_greedy_loop_ties_by_order(seed, rows, candidates, k, weight):
    relevance, vectors = whole(seed, rows, candidates), whole(seed + 1, rows, candidates, 3)
    expected = [
        slow_mmr(row.tolist(), each, k, weight)
        for row, each in zip(relevance, vectors, strict=True)
    ]
    assert mmr(relevance, vectors, k, weight).tolist() == expected


def test_mmr_by_hand_leaves_the_copy_for_last():
    vectors = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]])
    relevance = torch.tensor([[0.9, 0.9, 0.8, 0.3]])
    # After 0: 1 has .18 - .8, 2 has .16 - .48, 3 has .06 - 0; then 1: -.62, 2: .16 - .64.
    assert mmr(relevance, vectors, 4, 0.2).tolist() == [[0, 3, 2, 1]]
    assert mmr(relevance, vectors, 4, 1.0).tolist() == [[0, 1, 2, 3]]


def test_too_few_pictures_are_repeated_in_their_order():
    images = concept_images(unit(0, 2, 4), unit(1, 3, 4), 10)
    assert images.shape == (2, 10)
    assert torch.equal(images[:, 3:6], images[:, :3]) and torch.equal(images[:, 9], images[:, 0])
    assert images[:, :3].sort(1).values.tolist() == [[0, 1, 2]] * 2
    images = random_images(2, 3, 7, torch.Generator())
    assert torch.equal(images[:, 3:6], images[:, :3]) and torch.equal(images[:, 6], images[:, 0])
    assert images[:, :3].sort(1).values.tolist() == [[0, 1, 2]] * 2


def test_concept_images_are_those_of_search_and_mmr_one_by_one():
    asked, pool = unit(2, 6, 8), unit(3, 200, 8)
    expected = []
    for prompt in asked:
        order = (pool @ prompt).argsort(descending=True)[:20]
        chosen = slow_mmr((pool[order] @ prompt).tolist(), pool[order], 10, 0.2)
        expected.append(order[chosen].tolist())
    assert concept_images(asked, pool).tolist() == expected


def test_random_images_differ_within_a_concept_and_are_uniform():
    generator = torch.Generator().manual_seed(0)
    images = random_images(6000, 12, 4, generator)
    assert images.shape == (6000, 4) and images.dtype == torch.int64
    assert (images.sort(1).values.diff(dim=1) > 0).all()
    counts = images.flatten().bincount(minlength=12)
    assert len(counts) == 12
    # Each of 12 is in a third of the rows: 2,000, standard deviation 37.
    assert (counts - 2000).abs().max() < 5 * 37
    pairs = ((images == 0).any(1) & (images == 11).any(1)).float().mean().item()
    assert pairs == pytest.approx(4 / 12 * 3 / 11, abs=0.02)


def test_random_images_depend_on_the_generator_alone():
    one, other = (random_images(5, 1000, 10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, random_images(5, 1000, 10, torch.Generator().manual_seed(4)))
    assert random_images(0, 5, 3, torch.Generator()).shape == (0, 3)


def test_an_empty_pool_is_told_in_one_line():
    for search in (nearest, concept_images):
        with pytest.raises(DataError, match="pool of concept images is empty"):
            search(unit(0, 2, 4), torch.empty(0, 4))
    with pytest.raises(DataError, match="pool of concept images is empty"):
        random_images(2, 0, 3, torch.Generator())
