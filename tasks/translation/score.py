"""Repetition in translations: pure functions of tokens."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import prod
from typing import Any

from harness.task import Ratio

WINDOW = 16
"""How many tokens back rep-w looks for the same token."""

ORDERS = (1, 2, 3, 4)
"""The n of rep-n; diversity takes all but the first."""


def ngrams(tokens: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    """All n-grams of the tokens, in their order."""
    return zip(*(islice(tokens, start, None) for start in range(n)), strict=False)


def highest_count(tokens: Sequence[str], n: int) -> int:
    """How often the most frequent n-gram stands; 0 where there is none."""
    return max(Counter(ngrams(tokens, n)).values(), default=0)


def oscillates(
    hypothesis: Sequence[str], other: Sequence[str], n: int = 4, threshold: int = 2
) -> bool:
    """Whether the top n-gram count exceeds that of the source, or the reference, by `threshold`.

    TNG of Raunak et al. 2021 (arXiv 2104.06683).
    """
    return highest_count(hypothesis, n) - highest_count(other, n) >= threshold


def rep_n(tokens: Sequence[str], n: int) -> float:
    """rep-n: 1 - distinct / all n-grams (Welleck et al. 2020); 0 where there is none."""
    total = max(0, len(tokens) - n + 1)
    return 1 - len(set(ngrams(tokens, n))) / total if total else 0.0


def rep_w(tokens: Sequence[str], window: int = WINDOW) -> float:
    """rep-w: share of tokens that stand among the `window` before them (Fu et al. 2021)."""
    last: dict[str, int] = {}
    repeated = 0
    for position, token in enumerate(tokens):
        repeated += token in last and position - last[token] <= window
        last[token] = position
    return repeated / len(tokens) if tokens else 0.0


def rep_r(tokens: Sequence[str]) -> float:
    """rep-r: share of tokens inside a bigram that stands at least twice (Fu et al. 2021)."""
    pairs = list(ngrams(tokens, 2))
    counts = Counter(pairs)
    twice = [counts[pair] > 1 for pair in pairs]
    inside = sum(map(max, zip([False, *twice], [*twice, False], strict=True)))
    return inside / len(tokens) if tokens else 0.0


def repetition(tokens: Sequence[str]) -> dict[str, float]:
    """rep-1 to rep-4, rep-w, rep-r and diversity, the product of 1 - rep-n over n = 2 to 4."""
    values = {f"rep_{n}": rep_n(tokens, n) for n in ORDERS}
    diversity = prod(1 - values[f"rep_{n}"] for n in ORDERS[1:])
    return {**values, "rep_w": rep_w(tokens), "rep_r": rep_r(tokens), "diversity": diversity}


def repetition_scores(hypothesis: Sequence[str], reference: Sequence[str]) -> dict[str, Ratio]:
    """Each kind of repetition, and what of it exceeds the reference's own: means over items."""
    values, expected = repetition(hypothesis), repetition(reference)
    scores = {}
    for name, value in values.items():
        scores[name] = Ratio(value)
        scores[f"{name}_excess"] = Ratio(value - expected[name])
    return scores


def concept_scores(words: Sequence[str], concepts: Sequence[Mapping[str, Any]]) -> dict[str, Ratio]:
    """How a title keeps what belongs in it, by the truth about its concepts.

    Args:
        words: the translation, cut at blanks.
        concepts: `forms`, the words that render a concept, in no other concept; `count`, how
            often it rightly stands there.

    Returns:
        Shares of: concepts that stand there at all; rightful repeats that are missing (0 / 0
        where there is none); words that repeat beyond what is right.
    """
    owner = {form: i for i, concept in enumerate(concepts) for form in concept["forms"]}
    found = Counter(owner.get(word, word) for word in words)
    times = [(found[i], concept["count"]) for i, concept in enumerate(concepts)]
    needed = sum(count - 1 for _, count in times)
    kept = sum(min(max(have - 1, 0), count - 1) for have, count in times)
    needless = sum(max(0, have - count) for have, count in times)
    needless += sum(have - 1 for word, have in found.items() if isinstance(word, str))
    return {
        "concepts_rendered": Ratio(sum(have > 0 for have, _ in times), len(concepts)),
        "lost_repeats": Ratio(needed - kept, needed),
        "needless_repeats": Ratio(needless, len(words)),
    }
