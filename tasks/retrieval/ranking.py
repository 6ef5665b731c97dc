"""Ranks of what is looked for among candidates, pure: scores or unit vectors in, ranks out.

A query may have several positives (views of a product, titles of a picture): the best counts. A
negative that scores as high as the positive, within `TIE`, stands before it, so that a model that
gives everything the same score finds nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TIE = 1e-6
"""Scores no further apart are equal: products of unit vectors in fp32 differ by less from one order
of summation to another."""
BLOCK = 1024
"""Rows of scores that are in memory at once."""

Ints = NDArray[np.int64]


class Pairs(NamedTuple):
    """Which picture shows what which text says: indices of both, [pairs] each."""

    images: Ints
    texts: Ints


def pairs_of(images: Sequence[set[str]], texts: Sequence[set[str]]) -> Pairs:
    """All pairs of a picture and a text that have a product in common.

    Args:
        images: products of each picture.
        texts: products of each text.
    """
    of_product: dict[str, list[int]] = {}
    for index, products in enumerate(texts):
        for product in products:
            of_product.setdefault(product, []).append(index)
    found = sorted(
        {
            (image, text)
            for image, products in enumerate(images)
            for product in products
            for text in of_product.get(product, ())
        }
    )
    columns = np.array(found, np.int64).reshape(-1, 2)
    return Pairs(columns[:, 0], columns[:, 1])


def ranks(scores: Tensor, positive: Tensor) -> Tensor:
    """Rank of each query's best positive, from 1; the plain definition.

    Args:
        scores: [queries, candidates], any finite values.
        positive: bool, the same shape; one or more in each row.

    Returns:
        [queries], int64: 1 + how many negatives score as high or higher.
    """
    best = scores.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
    return 1 + ((scores >= best - TIE) & ~positive).sum(1)


def ranks_both_ways(images: Tensor, texts: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """`ranks` of texts for each picture and of pictures for each text, in blocks of pictures.

    Memory is a block of [1024, texts]; every score is made once for both directions.

    Args:
        images: unit vectors, [images, width].
        texts: unit vectors, [texts, width].
        pairs: the positives; every picture and every text is in one pair or more.

    Returns:
        Ranks by picture, [images], and by text, [texts], int64.
    """
    rows, columns = (torch.from_numpy(side) for side in pairs)
    own = torch.cat(
        [
            (images[rows[start : start + BLOCK]] * texts[columns[start : start + BLOCK]]).sum(1)
            for start in range(0, len(rows), BLOCK)
        ]
    )
    best_text = torch.full((len(images),), -torch.inf).scatter_reduce(0, rows, own, "amax")
    best_image = torch.full((len(texts),), -torch.inf).scatter_reduce(0, columns, own, "amax")
    by_image = torch.ones(len(images), dtype=torch.int64)
    by_text = torch.ones(len(texts), dtype=torch.int64)
    bounds = np.searchsorted(pairs.images, np.arange(0, len(images) + BLOCK, BLOCK))
    for number, start in enumerate(range(0, len(images), BLOCK)):
        scores = images[start : start + BLOCK] @ texts.T
        inside = slice(bounds[number], bounds[number + 1])
        scores[rows[inside] - start, columns[inside]] = -torch.inf
        above = best_text[start : start + BLOCK, None] - TIE
        by_image[start : start + BLOCK] += (scores >= above).sum(1)
        by_text += (scores >= best_image - TIE).sum(0)
    return by_image, by_text
