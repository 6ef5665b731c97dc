"""Which candidates a query is ranked among in the sampled protocol, decided by a seed alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.retrieval.ranking import Pairs

Ints = NDArray[np.int64]


class Draw(NamedTuple):
    """Queries, [queries], and their candidates, [queries, 1 + negatives], the positive first."""

    queries: Ints
    candidates: Ints


class Sampling(Protocol):
    """How much is drawn."""

    queries: int
    negatives: int
    draws: int
    seed: int


def draws(
    own: Pairs, of_query: Sequence[str], of_candidate: Sequence[str], sampling: Sampling
) -> Iterator[Draw]:
    """The draws of one direction.

    Args:
        own: indices of queries and of candidates that are right for them, [pairs] each.
        of_query: sub-category of each query.
        of_candidate: sub-category of each candidate.
        sampling: sizes and seed.

    Candidates that are right for the query are never among its negatives. Where a sub-category has
    too few others, the rest is drawn from all; where all are too few, all of them are candidates.
    """
    right: dict[int, list[int]] = {}
    for query, candidate in zip(own[0].tolist(), own[1].tolist(), strict=True):
        right.setdefault(query, []).append(candidate)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(of_candidate):
        groups.setdefault(name, []).append(index)
    members = {name: np.array(group) for name, group in groups.items()}
    most = max((len(found) for found in right.values()), default=0)
    negatives = min(sampling.negatives, len(of_candidate) - most)
    asked = np.array(sorted(right), np.int64)
    for number in range(sampling.draws):
        rng = np.random.default_rng([sampling.seed, number])
        chosen = rng.permutation(asked)[: sampling.queries]
        rows = []
        for query in chosen.tolist():
            positive = right[query][rng.integers(len(right[query]))]
            near = members.get(of_query[query], np.empty(0, np.int64))
            others = _others(near, right[query], negatives, rng)
            if len(others) < negatives:
                taken = [*right[query], *others.tolist()]
                rest = _others(np.arange(len(of_candidate)), taken, negatives - len(others), rng)
                others = np.concatenate([others, rest])
            rows.append([positive, *others.tolist()])
        yield Draw(chosen, np.array(rows, np.int64).reshape(len(chosen), -1))


def _others(members: Ints, left_out: Sequence[int], count: int, rng: np.random.Generator) -> Ints:
    """Up to `count` members at random, without some."""
    found: Ints = members[~np.isin(members, left_out)]
    return rng.choice(found, min(count, len(found)), replace=False)
