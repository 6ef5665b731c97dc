"""Titles: noun phrases in two orders, how far apart their repeats stand, what makes them hard."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from typing import Literal

from tasks.translation.lab.lexicon import (
    CODE_LETTERS,
    Concept,
    concepts,
    pieces,
    syllabic,
    words,
    zipf,
)

Split = Literal["train", "dev", "test"]
Spacing = Literal["far", "near"]
Category = Literal["plain", "rare", "stacked", "unseen", "truncated"]

PLAIN: Category = "plain"
HARD: tuple[Category, ...] = ("rare", "stacked", "unseen", "truncated")
CATEGORIES: dict[Split, tuple[Category, ...]] = {
    "train": (PLAIN,) * 156 + HARD,
    "dev": (PLAIN, *HARD),
    "test": (PLAIN, *HARD),
}
"""What the titles of a split are, in turn: what is read is clean, what is asked is hard."""

SPACINGS: dict[Spacing, tuple[int, int]] = {"far": (5, 8), "near": (1, 4)}
"""How many tokens a repeat stands after the last mention in the translation: from, to."""

PHRASES = (
    # Weight, order of the source, order of the target.
    (1, "category", "category"),
    (5, "style category", "category style"),
    (2, "colour category", "category colour"),
    (2, "material category", "category material"),
    (1, "audience category", "category audience"),
    (2, "brand category", "brand category"),
    (2, "category link audience", "audience link category"),
    (2, "category link feature", "category feature link"),
    (2, "style material category", "category material style"),
    (1, "colour feature category", "feature category colour"),
    (1, "brand style category", "brand category style"),
)

PHRASES_A_TITLE = (4, 7)
REPEAT = 0.85
"""How often a slot repeats a concept where one stands at the right distance."""

MENTIONS = 3
"""How often a title says one concept, at most."""

STACK = 0.7
"""How often a stacked title says a concept by all of its synonyms at once."""

COIN, JUNK = 0.3, 0.25
"""How often an unseen title has a coined name in a slot, and an item code beside one."""

SPLIT_OF_BUCKET: tuple[Split, ...] = ("test", "dev", "train", "train")

_WEIGHTS = list(accumulate(weight for weight, _, _ in PHRASES))
_ORDERS = [(source.split(), target.split()) for _, source, target in PHRASES]
_CUT_ORDERS = [
    (source[:-1], [kind for kind in target if kind != source[-1]])
    for source, target in _ORDERS
    if len(source) > 1 and source[-1] == "category"
]


def split_of(text: str) -> Split:
    """The only split that a title or a coined name may appear in, by the hash of its text."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return SPLIT_OF_BUCKET[int.from_bytes(digest, "big") % len(SPLIT_OF_BUCKET)]


@dataclass(frozen=True)
class Term:
    """A concept in the words that one title has for it throughout."""

    concept: Concept
    source: str
    target: str
    tokens: int
    """Of the target word."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a title: its words in the source, its terms in the order of the target."""

    source: tuple[str, ...]
    target: tuple[Term, ...]


@dataclass(frozen=True)
class Title:
    """A title with its phrases in the order of the translation, which is last phrase first."""

    category: Category
    phrases: tuple[Phrase, ...]

    @cached_property
    def source(self) -> str:
        """The title."""
        return " ".join(word for phrase in reversed(self.phrases) for word in phrase.source)

    @property
    def terms(self) -> list[Term]:
        """What the translation says, word by word."""
        return [term for phrase in self.phrases for term in phrase.target]

    @property
    def target(self) -> str:
        """The reference translation."""
        return " ".join(term.target for term in self.terms)


def titles(
    split: Split,
    spacing: Spacing,
    seed: int,
    phrases: tuple[int, int] = PHRASES_A_TITLE,
) -> Iterator[Title]:
    """Endless titles of one split, no two with the same source, of its categories in turn.

    Args:
        split: whose titles.
        spacing: how far apart repeats stand, a key of `SPACINGS`.
        seed: of the draw; the same arguments always give the same titles.
        phrases: number of phrases in a title, from and to.
    """
    rng = random.Random(f"titles {split} {spacing} {seed}")
    seen: set[str] = set()
    while True:
        for category in CATEGORIES[split]:
            title = _title(_Writer(split, spacing, category, rng), rng.randint(*phrases))
            while title.source in seen:
                title = _title(_Writer(split, spacing, category, rng), rng.randint(*phrases))
            seen.add(title.source)
            yield title


def _title(writer: "_Writer", size: int) -> Title:
    """A title of the writer's split: its last phrase is drawn until it lies there."""
    while len(writer.phrases) < size - 1:
        writer.write(writer.draw())
    while True:
        phrase = writer.draw()
        title = Title(writer.category, (*writer.phrases, phrase))
        if split_of(title.source) == writer.split:
            return title


class _Writer:
    """Writes a title phrase by phrase in the order of the translation.

    A slot takes a concept that is new to the title or whose last mention stands at the right
    distance: so every repeat does.
    """

    def __init__(
        self, split: Split, spacing: Spacing, category: Category, rng: random.Random
    ) -> None:
        self.split, self.category, self.rng = split, category, rng
        self.nearest, self.furthest = SPACINGS[spacing]
        self.phrases: list[Phrase] = []
        self.last: dict[Concept, tuple[Term, int]] = {}
        self.mentions: Counter[Concept] = Counter()
        self.length = 0
        self.names: set[str] = set()

    def write(self, phrase: Phrase) -> None:
        """Append a phrase to the translation."""
        self.phrases.append(phrase)
        for term in phrase.target:
            self.last[term.concept] = term, self.length
            self.mentions[term.concept] += 1
            self.length += term.tokens

    def draw(self) -> Phrase:
        """A phrase that could come next."""
        cut = self.category == "truncated" and not self.phrases
        if cut:
            source_order, target_order = self.rng.choice(_CUT_ORDERS)
        else:
            source_order, target_order = self.rng.choices(_ORDERS, cum_weights=_WEIGHTS)[0]
        terms: dict[str, Term] = {}
        position = self.length
        for kind in target_order:
            terms[kind] = self.term(kind, position)
            position += terms[kind].tokens
        source = [word for kind in source_order for word in self.say(terms[kind])]
        if cut:
            source.append(self.fragment())
        return Phrase(tuple(source), tuple(terms.values()))

    def term(self, kind: str, position: int) -> Term:
        """What fills a slot whose word begins at token `position` of the translation."""
        repeats = [
            term
            for concept, (term, last) in self.last.items()
            if concept.kind == kind
            and self.nearest <= position - last <= self.furthest
            and self.mentions[concept] < MENTIONS
        ]
        if repeats and self.rng.random() < REPEAT:
            return self.rng.choice(repeats)
        concept = self.concept(kind)
        while concept in self.last:
            concept = self.concept(kind)
        target = _wording(concept.target, self.rng)
        return Term(concept, _wording(concept.source, self.rng), target, len(pieces(target)))

    def concept(self, kind: str) -> Concept:
        """A concept of a kind by Zipf's law; by the category one of the rarer half, or coined."""
        known = concepts()[kind]
        if self.category == "unseen" and kind != "link" and self.rng.random() < COIN:
            name = self.coined()
            return Concept(kind, (name,), (name,))
        if self.category == "rare" and kind != "link":
            return self.rng.choice(known[len(known) // 2 :])
        return self.rng.choices(known, cum_weights=zipf(len(known)))[0]

    def coined(self) -> str:
        """A name that no other split and no lexicon knows; it is translated by itself."""
        name = syllabic(self.rng, 3)
        while split_of(name) != self.split or name in _KNOWN or name in self.names:
            name = syllabic(self.rng, 3)
        self.names.add(name)
        return name

    def say(self, term: Term) -> list[str]:
        """The words of one mention in the source."""
        synonyms = list(term.concept.source)
        if self.category == "stacked" and len(synonyms) > 1 and self.rng.random() < STACK:
            self.rng.shuffle(synonyms)
            return synonyms
        if self.category == "unseen" and self.rng.random() < JUNK:
            return ["".join(self.rng.choices(CODE_LETTERS, k=4)), term.source]
        return [term.source]

    def fragment(self) -> str:
        """The beginning of a category's word that was cut; the translation leaves it out."""
        word = _wording(self.concept("category").source, self.rng)
        return word[: self.rng.choice((2, 3))]  # No word has less than four letters.


_KNOWN = frozenset(words())
_HALVES = (4, 6, 7)  # 4 : 2 : 1


def _wording(synonyms: tuple[str, ...], rng: random.Random) -> str:
    """One of the words of a concept, each half as likely as the one before."""
    count = len(synonyms)
    return synonyms[0] if count == 1 else rng.choices(synonyms, cum_weights=_HALVES[:count])[0]
