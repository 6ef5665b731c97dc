"""The concepts of the titles and their words in two invented languages."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

SOURCE, TARGET = "qaa", "qab"
"""Codes of the two languages, from the range that ISO 639-2 keeps for private use."""

KINDS: dict[str, int] = {
    "category": 70,
    "style": 70,
    "feature": 40,
    "material": 30,
    "brand": 30,
    "colour": 20,
    "audience": 12,
    "link": 8,
}
"""How many concepts there are of each kind; a title uses at most seven links, one a phrase."""

SKEW = 1.0
"""Exponent of Zipf's law: how much rarer the second concept of a kind is than the first."""

SYNONYMS = (0.5, 0.3, 0.2)
"""Shares of the concepts with one, two and three words in a language."""

SPELLED = 0.45
"""Share of the words that a model reads and writes in syllables."""

CONSONANTS, VOWELS = "bdfghklmnprstv", "aeiou"
SYLLABLES = tuple(c + v for c in CONSONANTS for v in VOWELS)
CODE_LETTERS = "0123456789qxz"
"""What item codes are made of; no word has any of these."""

_SEED = 2024
_SYLLABLE = f"[{CONSONANTS}][{VOWELS}]"


@dataclass(frozen=True, eq=False)
class Concept:
    """What a title can mention; two concepts are the same only if they are one object.

    Attributes:
        kind: the slot of a phrase that it fills.
        source: its words in the source language, most frequent first.
        target: its words in the target language; no word belongs to two concepts.
    """

    kind: str
    source: tuple[str, ...]
    target: tuple[str, ...]


@cache
def pieces(word: str) -> tuple[str, ...]:
    """What the lab's tokenizer makes of a word: syllables, the letters of a code, or itself."""
    if re.fullmatch(f"(?:{_SYLLABLE})+", word):
        return tuple(re.findall(_SYLLABLE, word))
    return tuple(word) if set(word) <= set(CODE_LETTERS) else (word,)


@cache
def concepts() -> dict[str, tuple[Concept, ...]]:
    """The concepts of every kind, most frequent first; always the same."""
    rng = random.Random(_SEED)
    taken: set[str] = set()
    return {
        kind: tuple(_concept(kind, taken, rng) for _ in range(size)) for kind, size in KINDS.items()
    }


@cache
def zipf(size: int) -> list[float]:
    """Cumulative weights of `size` concepts, most frequent first."""
    return list(accumulate(rank**-SKEW for rank in range(1, size + 1)))


def words() -> list[str]:
    """Every word of both languages, names of brands once."""
    known = [c for kind in concepts().values() for c in kind]
    return list(dict.fromkeys(word for c in known for word in (*c.source, *c.target)))


def syllabic(rng: random.Random, syllables: int) -> str:
    """A word that is spelled."""
    return "".join(rng.choices(SYLLABLES, k=syllables))


def _concept(kind: str, taken: set[str], rng: random.Random) -> Concept:
    if kind == "brand":
        name = (_new(lambda: syllabic(rng, 3), taken),)
        return Concept(kind, name, name)

    def synonyms(language: str) -> tuple[str, ...]:
        count = rng.choices((1, 2, 3), SYNONYMS)[0]
        return tuple(_new(lambda: _word(language, rng), taken) for _ in range(count))

    return Concept(kind, synonyms(SOURCE), synonyms(TARGET))


def _word(language: str, rng: random.Random) -> str:
    """A spelled word, or a whole one, which two adjacent consonants tell from it."""
    if rng.random() < SPELLED:
        return syllabic(rng, rng.choice((2, 2, 3)))
    first, last = rng.choices(SYLLABLES, k=2)
    middle = rng.choice("lmnrs")
    return first + middle + last + (rng.choice("knst") if language == SOURCE else "")


def _new(make: Callable[[], str], taken: set[str]) -> str:
    word = make()
    while word in taken:
        word = make()
    taken.add(word)
    return word
