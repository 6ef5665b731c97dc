"""How a model does on the garments, and the most that its titles allow."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.models.dual_encoder import DualEncoder
from harness.models.loading import resolve
from tasks.retrieval.lab.rows import garment_rows
from tasks.retrieval.lab.titles import attributes_in
from tasks.retrieval.ranking import pairs_of, ranks_both_ways

Row = Mapping[str, Any]


def examine(folder: Path, split: str = "dev") -> dict[str, float]:
    """Recall at 1 and 10 of titles for pictures and back, and the oracle's, in percent."""
    rows = garment_rows(split)  # type: ignore[arg-type]
    model = DualEncoder.load(folder)
    images = model.encode_images([row["image"] for row in rows])
    titles = list(dict.fromkeys(row["title"] for row in rows))
    texts = model.encode_texts(titles)
    named = [{row["product"] for row in rows if row["title"] == title} for title in titles]
    by_image, by_text = ranks_both_ways(
        images, texts, pairs_of([{row["product"]} for row in rows], named)
    )
    found = {}
    for name, ranks in (("i2t", by_image), ("t2i", by_text)):
        for k in (1, 10):
            found[f"{name}_r{k}"] = _percent(ranks <= k)
    for part in ("seen", "held out"):
        mask = torch.tensor([row["combination"] == part for row in rows])
        found[f"i2t_r1 {part}"] = _percent(by_image[mask] <= 1)
    found["oracle i2t_r1"] = round(100 * oracle(rows), 1)
    return found


def oracle(rows: Sequence[Row]) -> float:
    """Expected recall at 1 of pictures for titles by who knows every attribute and every word.

    Of the titles that say most of a picture without saying anything false, one is guessed.
    """
    said = [attributes_in(row["title"]) for row in rows]
    total = 0.0
    for row in rows:
        true = {(k, v) for k, v in row["attributes"].items()}
        fitting = [each for each in said if each <= true]
        most = max(len(each) for each in fitting)
        best = [each for each in fitting if len(each) == most]
        own = attributes_in(row["title"])
        total += (len(own) == most) / len(best)
    return total / len(rows)


def _percent(hits: Tensor) -> float:
    return round(100 * hits.float().mean().item(), 1)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps(examine(resolve(name), "dev"), indent=1))
