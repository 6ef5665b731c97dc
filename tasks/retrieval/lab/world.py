"""Garments and their attributes: what there is, how often, and what is held back."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, NamedTuple

Split = Literal["train", "dev", "test"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 28, 32),
    "white": (242, 242, 240),
    "blue": (52, 96, 214),
    "red": (206, 44, 46),
    "grey": (136, 138, 142),
    "green": (46, 146, 68),
    "pink": (244, 150, 182),
    "brown": (124, 76, 40),
    "yellow": (240, 208, 62),
    "navy": (24, 36, 96),
    "purple": (132, 62, 168),
    "orange": (240, 132, 36),
}
"""Colour words, most frequent first, and their RGB values."""

PATTERNS = ("plain", "striped", "dotted", "checked")
SLEEVES = ("sleeveless", "short sleeve", "long sleeve")
NECKS = ("crew neck", "v-neck", "collared")
LENGTHS = ("mini", "knee length", "maxi")


class Kind(NamedTuple):
    """What a garment can be, and which attributes it can have."""

    category: str
    sleeves: bool = False
    necks: bool = False
    lengths: bool = False


KINDS: dict[str, Kind] = {
    "t-shirt": Kind("tops", sleeves=True, necks=True),
    "dress": Kind("dresses", sleeves=True, necks=True, lengths=True),
    "trousers": Kind("bottoms"),
    "sweater": Kind("tops", necks=True),
    "skirt": Kind("bottoms", lengths=True),
    "shirt": Kind("tops", sleeves=True),
    "jacket": Kind("outerwear"),
    "shorts": Kind("bottoms"),
    "coat": Kind("outerwear", lengths=True),
}
"""Kind, the sub-category of a product, most frequent first."""

HELD_OUT = 0.15
"""Share of the combinations of kind, colour and pattern that no garment to train on has."""

TRAIN_PRODUCTS, DEV_PRODUCTS, TEST_PRODUCTS = 700, 300, 1000
HELD_OUT_TESTED = 0.3
"""Share of the products of dev and test whose combination is held out."""


@dataclass(frozen=True)
class Garment:
    """A product by its attributes; None where its kind has no such attribute."""

    kind: str
    colour: str
    pattern: str
    second: str | None
    """Colour of stripes, dots and checks."""
    sleeve: str | None
    neck: str | None
    length: str | None

    @property
    def combination(self) -> str:
        return f"{self.kind} {self.colour} {self.pattern}"


def held_out(combination: str) -> bool:
    """Whether a combination of kind, colour and pattern is left to be tested."""
    digest = blake2b(combination.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 1000 < 1000 * HELD_OUT


def garments(split: Split) -> list[Garment]:
    """The products of a split, always the same; no two of all splits are alike."""
    counts = {"train": TRAIN_PRODUCTS, "dev": DEV_PRODUCTS, "test": TEST_PRODUCTS}
    known: set[Garment] = set()
    for name, count in counts.items():
        rng = random.Random(f"garments {name}")
        wanted = 0 if name == "train" else round(HELD_OUT_TESTED * count)
        found: list[Garment] = []
        for held, size in ((False, count - wanted), (True, wanted)):
            found += _different(held, size, known, rng)
        if name == split:
            return found
    raise ValueError(split)


def _different(held: bool, size: int, known: set[Garment], rng: random.Random) -> Iterator[Garment]:
    while size:
        garment = draw_garment(rng)
        if garment not in known and held_out(garment.combination) == held:
            known.add(garment)
            size -= 1
            yield garment


def draw_garment(rng: random.Random) -> Garment:
    """A garment at random: few kinds and colours are frequent, most are rare (Zipf)."""
    name = zipf(list(KINDS), rng)
    kind = KINDS[name]
    colour = zipf(list(COLOURS), rng)
    pattern = rng.choices(PATTERNS, (5, 2, 1.5, 1.5))[0]
    others = [each for each in COLOURS if each != colour]
    return Garment(
        kind=name,
        colour=colour,
        pattern=pattern,
        second=None if pattern == "plain" else zipf(others, rng, 0.5),
        sleeve=rng.choice(SLEEVES) if kind.sleeves else None,
        neck=rng.choice(NECKS) if kind.necks else None,
        length=rng.choice(LENGTHS) if kind.lengths else None,
    )


def zipf(names: list[str], rng: random.Random, power: float = 0.8) -> str:
    """A name, the first most often."""
    return rng.choices(names, [(place + 1) ** -power for place in range(len(names))])[0]
