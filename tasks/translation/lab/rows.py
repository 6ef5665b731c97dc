"""The splits of the titles as rows with their truth."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from tasks.translation.lab.grammar import Spacing, Split, Title, titles

Row = dict[str, Any]

SIZES: dict[Split, int] = {"train": 3200, "dev": 500, "test": 1000}


def row(title: Title, name: str) -> Row:
    """A title as a row: id, source, target, category and concepts.

    `concepts` is the truth of the translation: for each concept, in the order of the reference,
    the words that render it (forms) and how often it rightly stands there (count).
    """
    counts = Counter(term.concept for term in title.terms)
    return {
        "id": name,
        "source": title.source,
        "target": title.target,
        "category": title.category,
        "concepts": [{"forms": list(c.target), "count": n} for c, n in counts.items()],
    }


def rows(split: Split, spacing: Spacing, seed: int = 0) -> list[Row]:
    """The rows of a split."""
    drawn = islice(titles(split, spacing, seed), SIZES[split])
    return [row(title, f"{split}-{number:06}") for number, title in enumerate(drawn)]


def splits(spacing: Spacing) -> dict[str, Callable[[], list[Row]]]:
    """Name of a split -> what makes its rows: always the same ones, made anew at each call."""
    return {split: partial(rows, split, spacing) for split in SIZES}
