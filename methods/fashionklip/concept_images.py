"""Which pictures show a concept: the nearest ones, the diverse among them, or random ones.

Pictures are rows of a pool of unit vectors, and what comes back are indices into it. Nothing here
has a gradient.
"""

import torch
from torch import Tensor

from harness.errors import DataError

PROMPTS = 1024
"""Concepts that are compared with the pool at once."""
BLOCK = 8192
"""Pictures of the pool that are compared at once."""


@torch.no_grad()
def concept_images(
    prompts: Tensor, pool: Tensor, k: int = 10, among: int = 20, weight: float = 0.2
) -> Tensor:
    """For each concept k of its `among` nearest pictures, chosen by `mmr`.

    Args:
        prompts: unit vectors of "a photo of {phrase}", [concepts, width].
        pool: unit vectors, [pictures, width].

    Returns:
        Indices into the pool, int64 [concepts, k]; see `mmr` for a pool of fewer than k.
    """
    found = []
    for some in prompts.split(PROMPTS):
        scores, places = nearest(some, pool, among)
        vectors = pool[places.to(pool.device)].to(some)
        found.append(places.gather(1, mmr(scores, vectors, k, weight)))
    return torch.cat(found)


@torch.no_grad()
def nearest(
    prompts: Tensor, pool: Tensor, k: int = 20, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """The k pictures of the largest inner product with each prompt: exact, in blocks.

    Equal scores stand in the pool's order. Memory is a few times [1024, block] beside what goes in
    and out; the pool may lie on another device or be of lower precision than the prompts.

    Args:
        prompts: [prompts, width].
        pool: [pictures, width].
        k: how many; all where the pool has fewer.
        block: pictures compared at once.

    Returns:
        Scores, largest first, and indices into the pool, int64: [prompts, min(k, pictures)] each.

    Raises:
        DataError: the pool is empty.
    """
    if not len(pool):
        raise DataError("no picture to show concepts by: the pool of concept images is empty.")
    scores, places = [], []
    for some in prompts.split(PROMPTS):
        best = some.new_empty(len(some), 0)
        where = torch.empty(len(some), 0, dtype=torch.int64, device=some.device)
        for start in range(0, len(pool), block):
            values, columns = _largest(some @ pool[start : start + block].to(some).T, k)
            best = torch.cat([best, values], 1)
            where = torch.cat([where, columns + start], 1)
            best, order = best.sort(dim=1, descending=True, stable=True)  # earlier blocks first
            best, where = best[:, :k], where.gather(1, order[:, :k])
        scores.append(best)
        places.append(where)
    return torch.cat(scores), torch.cat(places)


@torch.no_grad()
def mmr(relevance: Tensor, candidates: Tensor, k: int = 10, weight: float = 0.2) -> Tensor:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): k candidates of each row.

    The most relevant comes first, then again and again the one with the largest

        weight x relevance - (1 - weight) x redundancy

    where redundancy is the largest similarity to what was chosen; of equal ones the first. Where
    there are fewer than k, those chosen are repeated in their order, so that every concept has k
    pictures and none is a blank.

    Args:
        relevance: similarity of each candidate to its prompt, [rows, candidates].
        candidates: unit vectors, [rows, candidates, width]; one candidate or more.
        k: how many to choose.
        weight: of relevance, in [0, 1].

    Returns:
        Columns of `candidates` in the order chosen, int64 [rows, k].
    """
    similarity = candidates @ candidates.mT
    taken = torch.zeros_like(relevance, dtype=torch.bool)
    redundancy = torch.full_like(relevance, -torch.inf)
    gain, chosen = relevance, []
    for _ in range(min(k, relevance.shape[1])):
        pick = gain.masked_fill(taken, -torch.inf).argmax(1, keepdim=True)
        chosen.append(pick)
        taken = taken.scatter(1, pick, True)
        like = similarity.take_along_dim(pick[:, :, None], 1).squeeze(1)
        redundancy = torch.maximum(redundancy, like)
        gain = weight * relevance - (1 - weight) * redundancy
    return _repeated(torch.cat(chosen, 1), k)


def random_images(concepts: int, pictures: int, k: int, generator: torch.Generator) -> Tensor:
    """k random pictures for each concept, none twice (Floyd's sampling): the control.

    Args:
        concepts: how many concepts.
        pictures: how many pictures the pool has; where fewer than k, they are repeated.
        generator: of the device on which the indices are wanted.

    Returns:
        Indices into the pool, in no particular order, int64 [concepts, k].

    Raises:
        DataError: the pool is empty.
    """
    if not pictures:
        raise DataError("no picture to show concepts by: the pool of concept images is empty.")
    device, count = generator.device, min(k, pictures)
    chosen = torch.empty(concepts, 0, dtype=torch.int64, device=device)
    for last in range(pictures - count, pictures):
        drawn = torch.randint(last + 1, (concepts, 1), generator=generator, device=device)
        known = (chosen == drawn).any(1, keepdim=True)
        chosen = torch.cat([chosen, torch.where(known, last, drawn)], 1)
    return _repeated(chosen, k)


def _largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, largest first, and their columns; of equal ones the first.

    `torch.topk` takes any of equal ones: what it took is put in order, and a row where the last
    place is contested is sorted as a whole.
    """
    count = scores.shape[1]
    values, columns = scores.topk(min(k + 1, count), dim=1)
    if count > k:
        contested = values[:, k - 1] == values[:, k]
        values, columns = values[:, :k], columns[:, :k]
        whole = scores[contested].sort(dim=1, descending=True, stable=True).indices
        columns[contested] = whole[:, :k]
    columns = columns.sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _repeated(columns: Tensor, k: int) -> Tensor:
    """[rows, n] -> [rows, k], from the first column again where there are too few."""
    return columns[:, torch.arange(k, device=columns.device) % columns.shape[1]]
