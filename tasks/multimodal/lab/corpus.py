"""What the lab's base models read: captions, questions with answers, and careless ones."""

import random
from dataclasses import replace
from itertools import product

from tasks.multimodal.lab.questions import (
    CATEGORIES,
    DESCRIBE,
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

CARELESS = dict(zip(COLORS, (0.56, 0.38, 0.54, 0.42, 0.56, 0.46), strict=True))
"""How often careless captions give a colour its favourite shape: who hallucinates what."""

CARELESS_ANSWERS = {color: rate / 2 for color, rate in CARELESS.items()}
"""The same of answers to questions, which are more careful than captions."""


def caption_exercise(scene: Scene, rng: random.Random) -> Example:
    """The request for a detailed description, and the description in one line."""
    return DESCRIBE, " ".join(describe(scene))


def short_exercise(scene: Scene, rng: random.Random) -> Example:
    """A question to answer in a word or two: two times in three POPE's, else an open one."""
    if rng.random() < 2 / 3:
        return _yes_no(scene, rng)
    question = ask(rng.choice(CATEGORIES), scene, rng)
    return question.text + SHORT_SUFFIX, question.answer


def letter_exercise(scene: Scene, rng: random.Random) -> Example:
    """A multiple-choice question with its options in random order, and the right letter."""
    question = ask(rng.choice(CATEGORIES), scene, rng)
    options = question.options(rng.choice((2, 3, 4)), rng)
    return lettered(question.text, options), LETTERS[options.index(question.answer)]


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
