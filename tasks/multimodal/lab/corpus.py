"""What the lab's base models read: captions, questions with answers, and careless ones."""

import random
from dataclasses import replace
from itertools import product

from tasks.multimodal.lab.questions import (
    CATEGORIES,
    LETTERS,
    SHORT_SUFFIX,
    absent,
    ask,
    is_there,
    lettered,
    present,
)
from tasks.multimodal.lab.world import (
    COLORS,
    NUMBERS,
    PLACES,
    SHAPES,
    Scene,
    Thing,
    count_sentence,
    describe,
    object_sentence,
)

Example = tuple[str, str]
"""A question and its answer."""

FORMS = {"yes-no": 0.25, "letter": 0.6, "word": 0.15}
"""Shares of the forms of questions in base training."""

CARELESS = dict(zip(COLORS, (0.62, 0.40, 0.58, 0.44, 0.64, 0.50), strict=True))
"""How often careless captions give a colour its favourite shape: who hallucinates what."""


def caption(scene: Scene) -> str:
    """The detailed description of a scene, in one line."""
    return " ".join(describe(scene))


def exercise(scene: Scene, rng: random.Random) -> Example:
    """A question about a scene in a form drawn by `FORMS`, and its true answer."""
    form = rng.choices(list(FORMS), list(FORMS.values()))[0]
    if form == "yes-no":
        return _yes_no(scene, rng)
    question = ask(rng.choice(CATEGORIES), scene, rng)
    if form == "word":
        return question.text + SHORT_SUFFIX, question.answer
    options = question.options(rng.choice((2, 3, 4)), rng)
    return lettered(question.text, options), LETTERS[options.index(question.answer)]


def key(rng: random.Random) -> str:
    """A text without an image: options under letters, then which letter each had, twice over.

    A language model learns from it to look up letters, which answers alone hardly teach it.
    """
    words = rng.sample([*COLORS, *SHAPES, *PLACES, *NUMBERS[1:]], len(LETTERS))
    options = " ".join(f"{letter}. {word}" for letter, word in zip(LETTERS, words, strict=True))
    named = [f"{word} {letter}" for letter, word in zip(LETTERS, words, strict=True)]
    rounds = [" ".join(rng.sample(named, len(named))) for _ in range(2)]
    return " ".join([options, *rounds])


def every_sentence() -> list[str]:
    """Every claim of the grammar."""
    things = [Thing(*words) for words in product(COLORS, SHAPES, PLACES)]
    return [*map(object_sentence, things), *map(count_sentence, range(1, len(NUMBERS)))]


def changed_claim(scene: Scene, rng: random.Random) -> str:
    """A sentence about a thing of a scene that one changed attribute has made false."""
    thing = rng.choice(scene.things)
    attribute, words = rng.choice((("color", COLORS), ("shape", SHAPES), ("place", PLACES)))
    others = [word for word in words if word != getattr(thing, attribute)]
    return object_sentence(replace(thing, **{attribute: rng.choice(others)}))


def _yes_no(scene: Scene, rng: random.Random) -> Example:
    """POPE's question; half of the absent objects share a colour with what is there."""
    yes = rng.random() < 0.5
    if yes:
        things = present(scene)
    else:
        things = absent(scene, "random")
        if rng.random() < 0.5:
            things = [o for o in things if scene.of(o[0])]
    return is_there(rng.choice(things)) + SHORT_SUFFIX, "yes" if yes else "no"
