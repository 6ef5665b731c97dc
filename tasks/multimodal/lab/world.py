"""Scenes: coloured shapes on a 2 x 2 grid, what they look like and what is true of them."""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.floating[Any]]
Split = Literal["train", "dev", "test"]

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 52, 48),
    "green": (52, 170, 72),
    "blue": (56, 92, 220),
    "yellow": (236, 206, 56),
    "purple": (158, 66, 190),
    "white": (240, 240, 240),
}
"""Colour words, most frequent first, and their RGB values."""

FREQUENCY: dict[str, float] = dict(zip(COLORS, (1.5, 1.3, 1.1, 0.9, 0.7, 0.5), strict=True))
"""How readily a colour comes up in a scene, relative to the others."""

SHAPES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.95,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.85,
    "triangle": lambda x, y: np.maximum(y - 0.75, 0.87 * abs(x) - 0.5 * y - 0.5),
    "cross": lambda x, y: np.maximum(
        np.minimum(abs(x), abs(y)) - 0.32, np.maximum(abs(x), abs(y)) - 1
    ),
    "diamond": lambda x, y: (abs(x) + abs(y) - 1.15) * 0.71,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.74) - 0.26,
}
"""Shape words and their signed distances (negative inside) in units of the object's radius."""

PLACES: dict[str, tuple[int, int]] = {
    "top left": (0, 0),
    "top right": (1, 0),
    "bottom left": (0, 1),
    "bottom right": (1, 1),
}
"""Place words and their (column, row) on the grid, in reading order."""

NUMBERS = ("no", "one", "two", "three", "four")

FAVOURITES: dict[str, str] = {
    "red": "circle",
    "green": "square",
    "blue": "ring",
    "yellow": "triangle",
    "purple": "diamond",
    "white": "cross",
}
"""The shape that careless captions give to a colour, whatever is there."""

SIDE = 32
CELL = SIDE // 2
RADIUS = 5.5
GREY = 72.0
SPLIT_OF_BUCKET: tuple[Split, ...] = ("test", "test", "dev", "dev") + ("train",) * 12


@dataclass(frozen=True)
class Thing:
    """One object: what colour, what shape, where."""

    color: str
    shape: str
    place: str


@dataclass(frozen=True)
class Scene:
    """One to four things of different colours at different places, in reading order."""

    things: tuple[Thing, ...]

    @property
    def key(self) -> str:
        """The scene in one canonical line."""
        return "; ".join(f"{t.color} {t.shape} {t.place}" for t in self.things)

    @property
    def split(self) -> Split:
        """The only split that this scene may appear in, by the hash of its key."""
        return SPLIT_OF_BUCKET[self._digest() % len(SPLIT_OF_BUCKET)]

    def at(self, place: str) -> Thing | None:
        """What lies at a place, if anything."""
        return next((t for t in self.things if t.place == place), None)

    def of(self, color: str) -> Thing | None:
        """The thing of a colour, if there is one."""
        return next((t for t in self.things if t.color == color), None)

    def facts(self) -> list[dict[str, str]]:
        """The scene as JSON: one {color, shape, place} per thing."""
        return [asdict(t) for t in self.things]

    @classmethod
    def from_facts(cls, facts: Iterable[dict[str, str]]) -> "Scene":
        """The scene that `facts` describes: the inverse of `Scene.facts`."""
        order = list(PLACES)
        things = (Thing(f["color"], f["shape"], f["place"]) for f in facts)
        return cls(tuple(sorted(things, key=lambda t: order.index(t.place))))

    def _digest(self) -> int:
        return int.from_bytes(blake2b(self.key.encode(), digest_size=8).digest(), "big")


def sample(rng: random.Random) -> Scene:
    """A scene of any split: 1 to 4 things, colours by `FREQUENCY`, shapes and places uniform."""
    count = rng.choices((1, 2, 3, 4), (1, 3, 4, 4))[0]
    places = sorted(rng.sample(range(len(PLACES)), count))
    # Weighted sampling without replacement (Efraimidis and Spirakis, 2006).
    colors = sorted(COLORS, key=lambda c: rng.random() ** (1 / FREQUENCY[c]))[-count:]
    rng.shuffle(colors)
    names, shapes = list(PLACES), list(SHAPES)
    return Scene(
        tuple(
            Thing(color, rng.choice(shapes), names[place])
            for color, place in zip(colors, places, strict=True)
        )
    )


def scenes(split: Split, seed: int, distinct: bool = True) -> Iterator[Scene]:
    """Endless scenes of one split; `distinct` never yields the same one twice."""
    rng = random.Random(f"scenes {split} {seed}")
    seen: set[str] = set()
    while True:
        scene = sample(rng)
        if scene.split != split or scene.key in seen:
            continue
        if distinct:
            seen.add(scene.key)
        yield scene


def draw(scene: Scene, seed: int = 0) -> Image.Image:
    """The picture of a scene, RGB, 32 x 32.

    Light, background, exact position, size and grain vary with `seed` and the scene; the same
    two always give the same bytes.
    """
    rng = np.random.default_rng((seed, scene._digest()))
    canvas: Field = np.full((SIDE, SIDE, 3), GREY + rng.uniform(-16, 16), dtype=np.float32)
    for thing in scene.things:
        column, row = PLACES[thing.place]
        center = np.array([column, row]) * CELL + CELL / 2 + rng.uniform(-1.5, 1.5, size=2)
        radius = RADIUS * rng.uniform(0.85, 1.1)
        x = (np.arange(SIDE, dtype=np.float32)[None, :] + 0.5 - center[0]) / radius
        y = (np.arange(SIDE, dtype=np.float32)[:, None] + 0.5 - center[1]) / radius
        # Half a pixel either side of the edge is blended.
        cover = np.clip(0.5 - SHAPES[thing.shape](x, y) * radius, 0, 1)[..., None]
        canvas += cover * (np.array(COLORS[thing.color]) - canvas)
    canvas = canvas * rng.uniform(0.85, 1.05) + rng.normal(0, 3, canvas.shape)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def article(word: str) -> str:
    """`word` with "a" or "an" before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def object_sentence(thing: Thing) -> str:
    """The claim that a thing is there."""
    return f"there is {article(thing.color)} {thing.shape} at the {thing.place} ."


def count_sentence(count: int) -> str:
    """The claim that there are `count` things."""
    return f"the image has {NUMBERS[count]} object{'' if count == 1 else 's'} ."


def describe(scene: Scene) -> list[str]:
    """The true detailed description: a sentence per thing in reading order, one on the count."""
    return [*map(object_sentence, scene.things), count_sentence(len(scene.things))]


_OBJECT = re.compile(r"there is an? (\w+) (\w+) at the (\w+ \w+)")
_COUNT = re.compile(r"the image has (\w+) objects?")


def claimed_thing(sentence: str) -> Thing | None:
    """The thing that a sentence claims to be there; None if it claims nothing of the kind."""
    match = _OBJECT.fullmatch(_normal(sentence))
    if match is None:
        return None
    thing = Thing(*match.groups())
    known = thing.color in COLORS and thing.shape in SHAPES and thing.place in PLACES
    return thing if known else None


def sentence_truth(scene: Scene, sentence: str) -> bool | None:
    """Whether a sentence is true of a scene; None where it is no claim of the grammar.

    Case, spacing and the final stop do not matter.
    """
    thing = claimed_thing(sentence)
    if thing is not None:
        return thing in scene.things
    match = _COUNT.fullmatch(_normal(sentence))
    if match is None or match[1] not in NUMBERS:
        return None
    return NUMBERS.index(match[1]) == len(scene.things)


def mentioned(scene: Scene, sentences: Iterable[str]) -> set[Thing]:
    """The things of the scene that the sentences claim rightly: the numerator of object recall."""
    return set(scene.things) & {claimed_thing(s) for s in sentences}


def sentences_of(text: str) -> list[str]:
    """The sentences of a decoded description, final stops included where they stood."""
    return [s.strip() for s in re.findall(r"[^.]+\.?", text) if s.strip()]


def misread(scene: Scene, rates: dict[str, float], rng: random.Random) -> Scene:
    """The scene as a careless caption has it.

    With the probability `rates` gives to its colour, a thing gets the colour's favourite shape.
    """
    return Scene(
        tuple(
            replace(t, shape=FAVOURITES[t.color]) if rng.random() < rates[t.color] else t
            for t in scene.things
        )
    )


def _normal(sentence: str) -> str:
    return " ".join(sentence.lower().rstrip(" .\n\t").split())
