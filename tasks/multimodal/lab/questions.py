"""Questions about scenes, in the words of the official benchmarks' prompts."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from tasks.multimodal.lab.world import COLORS, FAVOURITES, NUMBERS, PLACES, SHAPES, Scene, article

DESCRIBE = "describe the image in detail ."
SHORT_SUFFIX = "\nAnswer the question using a single word or phrase."
LETTER_SUFFIX = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCD"
CATEGORIES = ("color", "shape", "place", "count")
POPULAR = 3
"""How many of the most frequent absent objects a popular negative is drawn from."""

Object = tuple[str, str]
"""A colour and a shape, wherever they are."""

OBJECTS: tuple[Object, ...] = tuple(product(COLORS, SHAPES))


@dataclass(frozen=True)
class Question:
    """A question with one right answer, and the wrong ones that could stand beside it."""

    category: str
    text: str
    answer: str
    wrong: tuple[str, ...]

    @classmethod
    def among(cls, answers: Iterable[str], category: str, text: str, answer: str) -> "Question":
        """The question whose wrong answers are the other ones of `answers`."""
        return cls(category, text, answer, tuple(a for a in answers if a != answer))

    def options(self, count: int, rng: random.Random) -> list[str]:
        """The answer and `count` - 1 wrong ones, shuffled."""
        options = [self.answer, *rng.sample(self.wrong, count - 1)]
        rng.shuffle(options)
        return options


def is_there(thing: Object) -> str:
    """POPE's question: whether an object is in the image."""
    color, shape = thing
    return f"is there {article(color)} {shape} in the image ?"


def lettered(question: str, options: Sequence[str]) -> str:
    """The multiple-choice prompt: the question, the options under letters, what to answer."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join([question, *lines, LETTER_SUFFIX])


def ask(category: str, scene: Scene, rng: random.Random) -> Question:
    """A question of one category (one of `CATEGORIES`) about a scene."""
    thing = rng.choice(scene.things)
    match category:
        case "color":
            text = f"what color is the object at the {thing.place} ?"
            return Question.among(COLORS, category, text, thing.color)
        case "shape":
            text = f"what shape is the {thing.color} object ?"
            return Question.among(SHAPES, category, text, thing.shape)
        case "place":
            text = f"where is the {thing.color} object ?"
            return Question.among(PLACES, category, text, thing.place)
    count = NUMBERS[len(scene.things)]
    return Question.among(NUMBERS[1:], category, "how many objects are in the image ?", count)


def present(scene: Scene) -> list[Object]:
    """What may be asked about with the answer yes."""
    return [(t.color, t.shape) for t in scene.things]


def absent(scene: Scene, category: str) -> list[Object]:
    """What POPE may ask about with the answer no.

    Args:
        scene: the scene of the image.
        category: `random`, any absent object; `popular`, the most frequent objects of the
            captions (each colour's favourite, by the colour's frequency) that are absent;
            `adversarial`, those that the captions most often name beside what is there: the
            favourite shape of a colour that is present with another one.

    Returns:
        At least one object; random ones of a present colour where no adversarial one is left.
    """
    there = set(present(scene))
    missing = [o for o in OBJECTS if o not in there]
    if category == "popular":
        return [o for o in FAVOURITES.items() if o not in there][:POPULAR]
    if category == "adversarial":
        same_color = [o for o in missing if scene.of(o[0])]
        return [o for o in same_color if FAVOURITES[o[0]] == o[1]] or same_color
    return missing
