"""The garments as rows: views of products with their titles, and what is true of each."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from tasks.retrieval.lab.drawing import garment_look, picture
from tasks.retrieval.lab.titles import attributes_in, title
from tasks.retrieval.lab.world import KINDS, Split, garments, held_out

VIEWS = {"train": 3, "dev": 1, "test": 2}
"""Pictures of each product."""

Row = Mapping[str, Any]


def garment_rows(split: Split) -> list[Row]:
    """The views of a split's products, always the same.

    `combination` tells whether garments to train on have this kind, colour and pattern together.
    """
    found: list[Row] = []
    for number, garment in enumerate(garments(split)):
        rng = random.Random(f"{split} {number}")
        text = title(garment, rng)
        for view in range(VIEWS[split]):
            found.append(
                {
                    "id": f"{split}-{number}-{view}",
                    "product": f"{split}-{number}",
                    "title": text,
                    "image": picture(garment_look(garment, rng), rng),
                    "category": KINDS[garment.kind].category,
                    "subcategory": garment.kind,
                    "combination": "held out" if held_out(garment.combination) else "seen",
                    "attributes": {k: v for k, v in asdict(garment).items() if v is not None},
                }
            )
    return found


def truth(row: Row, sentences: Sequence[str]) -> list[float]:
    """Whether each phrase is true of a view: 1 where it says nothing that is false."""
    true = set(row["attributes"].items())
    return [float(attributes_in(sentence) <= true) for sentence in sentences]


def splits() -> dict[str, Callable[[], Sequence[Row]]]:
    """Split -> what makes its rows."""
    names: tuple[Split, ...] = ("train", "dev", "test")
    return {name: partial(garment_rows, name) for name in names}
