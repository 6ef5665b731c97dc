"""The broad world that the base is pretrained on: things of many kinds, some of them garments."""

import math
import random
from dataclasses import dataclass

from tasks.retrieval.lab.drawing import Look, Points, garment_look
from tasks.retrieval.lab.world import COLOURS, PATTERNS, draw_garment

GARMENTS = 0.25
"""Share of garments among the things."""


@dataclass(frozen=True)
class Thing:
    """What a photograph shows."""

    name: str
    colour: str
    pattern: str
    second: str | None


def _round(radius: float, x: float = 0, y: float = 0, corners: int = 20) -> Points:
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return [(x + radius * math.sin(turn), y - radius * math.cos(turn)) for turn in turns]


def _star(points: int, inner: float) -> Points:
    turns = [math.pi * i / points for i in range(2 * points)]
    radii = [0.75 if i % 2 == 0 else inner for i in range(2 * points)]
    return [(r * math.sin(t), -r * math.cos(t)) for r, t in zip(radii, turns, strict=True)]


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


THINGS: dict[str, list[Points]] = {
    "ball": [_round(0.65)],
    "box": [_box(-0.6, -0.6, 0.6, 0.6)],
    "kite": [[(0, -0.8), (0.5, -0.1), (0, 0.8), (-0.5, -0.1)]],
    "tent": [[(0, -0.65), (0.8, 0.6), (-0.8, 0.6)]],
    "star": [_star(5, 0.32)],
    "flower": [_star(8, 0.45)],
    "cross": [_box(-0.22, -0.7, 0.22, 0.7), _box(-0.7, -0.22, 0.7, 0.22)],
    "house": [_box(-0.5, -0.1, 0.5, 0.65), [(-0.65, -0.1), (0, -0.7), (0.65, -0.1)]],
    "tree": [_box(-0.1, 0.2, 0.1, 0.75), _round(0.5, 0, -0.2)],
    "cup": [[(-0.4, -0.5), (0.4, -0.5), (0.28, 0.6), (-0.28, 0.6)], _box(0.38, -0.3, 0.65, 0.1)],
    "fish": [_round(0.45, -0.15, 0), [(0.15, 0), (0.7, -0.4), (0.7, 0.4)]],
    "car": [_box(-0.75, 0, 0.75, 0.35), _box(-0.4, -0.3, 0.35, 0.05), _round(0.18, -0.4, 0.4)],
    "bottle": [_box(-0.28, -0.15, 0.28, 0.8), _box(-0.11, -0.75, 0.11, 0)],
    "boat": [
        [(-0.75, 0.2), (0.75, 0.2), (0.45, 0.6), (-0.45, 0.6)],
        [(0, -0.7), (0.5, 0.1), (0, 0.1)],
    ],
    "flag": [_box(-0.55, -0.75, -0.45, 0.8), _box(-0.5, -0.75, 0.6, 0)],
    "lamp": [[(-0.25, -0.7), (0.25, -0.7), (0.5, 0), (-0.5, 0)], _box(-0.06, 0, 0.06, 0.75)],
    "bag": [_box(-0.5, -0.2, 0.5, 0.6), _round(0.3, 0, -0.3, 8)],
    "hat": [_box(-0.75, 0.2, 0.75, 0.38), _box(-0.4, -0.4, 0.4, 0.25)],
    "table": [
        _box(-0.75, -0.3, 0.75, -0.1),
        _box(-0.65, -0.1, -0.5, 0.6),
        _box(0.5, -0.1, 0.65, 0.6),
    ],
    "heart": [
        _round(0.33, -0.28, -0.2),
        _round(0.33, 0.28, -0.2),
        [(-0.58, -0.05), (0.58, -0.05), (0, 0.7)],
    ],
}
"""Name -> outlines, in units of half a picture."""


def draw_thing(rng: random.Random) -> tuple[Thing, Look]:
    """Something at random and its look: colours and patterns are equally frequent on all things."""
    if rng.random() < GARMENTS:
        garment = draw_garment(rng)
        thing = Thing(garment.kind, garment.colour, garment.pattern, garment.second)
        return thing, garment_look(garment, rng)
    colour, second = rng.sample(list(COLOURS), 2)
    pattern = rng.choice(PATTERNS)
    thing = Thing(rng.choice(list(THINGS)), colour, pattern, None if pattern == "plain" else second)
    outlines = THINGS[thing.name]
    return thing, Look(outlines, [], colour, pattern, thing.second)
