"""Pictures of garments and of other things, 32 x 32, with noise in shape, pose, light, ground."""

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tasks.retrieval.lab.world import COLOURS, Garment

SIDE = 32
SCALE = 2
"""Drawn this much larger, then averaged."""

Points = list[tuple[float, float]]
Pixels = NDArray[np.float32]


class Look(NamedTuple):
    """What is drawn: filled outlines in units of half the picture, then darker lines over them."""

    outlines: Sequence[Points]
    lines: Sequence[Points]
    colour: str
    pattern: str
    second: str | None


def picture(look: Look, rng: random.Random) -> Image.Image:
    """A picture of a look in a pose of its own."""
    side = SIDE * SCALE
    place = _pose(rng)
    mask, edges = (Image.new("L", (side, side)) for _ in range(2))
    for outline in look.outlines:
        ImageDraw.Draw(mask).polygon([place(point) for point in outline], fill=255)
    for line in look.lines:
        ImageDraw.Draw(edges).line([place(point) for point in line], fill=255, width=SCALE + 1)
    noise = np.random.default_rng(rng.getrandbits(64))
    cloth = _cloth(look, side, rng)
    cloth *= 1 - 0.45 * np.asarray(edges, np.float32)[..., None] / 255
    cover = np.asarray(mask, np.float32)[..., None] / 255
    drawn = cover * cloth * _light(side, rng) + (1 - cover) * _ground(side, rng)
    small = drawn.reshape(SIDE, SCALE, SIDE, SCALE, 3).mean((1, 3))
    small += noise.normal(0, rng.uniform(3, 12), small.shape).astype(np.float32)
    return Image.fromarray(small.clip(0, 255).astype(np.uint8))


def garment_look(garment: Garment, rng: random.Random) -> Look:
    """The outlines of a garment; their proportions vary from view to view."""
    outlines, lines = _OUTLINES[garment.kind](garment, rng)
    return Look(outlines, lines, garment.colour, garment.pattern, garment.second)


def _vary(value: float, rng: random.Random) -> float:
    return value * rng.uniform(0.92, 1.08)


def _tops(garment: Garment, rng: random.Random) -> tuple[list[Points], list[Points]]:
    """A body to the hem, sleeves, and what is at the neck and down the front."""
    kind, length = garment.kind, garment.length
    wide = {"coat": 0.46, "jacket": 0.46, "sweater": 0.44}.get(kind, 0.38)
    hem = {"t-shirt": 0.5, "shirt": 0.55, "sweater": 0.5, "jacket": 0.42}.get(kind, 0.6)
    if kind == "dress":
        hem = {"mini": 0.35, "knee length": 0.6, "maxi": 0.88}[str(length)]
    if kind == "coat":
        hem = {"mini": 0.5, "knee length": 0.68, "maxi": 0.9}[str(length)]
    wide, hem = _vary(wide, rng), _vary(hem, rng)
    low = wide * (1.75 if kind == "dress" else 1.08 if kind == "coat" else 0.95)
    waist = wide * (0.72 if kind == "dress" else 0.95)
    neck = garment.neck or ("collared" if kind in ("shirt", "jacket", "coat") else "crew neck")
    cut = {"crew neck": [(0.0, -0.5)], "v-neck": [(0.0, -0.22)], "collared": []}[neck]
    body = [(-wide, -0.62), (-0.16, -0.68), *cut, (0.16, -0.68), (wide, -0.62)]
    body += [(waist, 0.0), (low, hem), (-low, hem), (-waist, 0.0)]
    sleeve = garment.sleeve or "long sleeve"
    outlines, lines = [body], []
    reach = {"sleeveless": 0.0, "short sleeve": 0.38, "long sleeve": 0.98}[sleeve]
    if reach:
        for side in (-1, 1):
            out, down = wide + reach * 0.42, -0.6 + reach
            outlines.append(
                [
                    (side * wide * 0.9, -0.62),
                    (side * (out + 0.1), down),
                    (side * (out - 0.1), down + 0.06),
                    (side * wide * 0.86, -0.28),
                ]
            )
    if neck == "collared":
        lines += [[(-0.2, -0.7), (0.0, -0.46), (0.2, -0.7)]]
    if kind in ("jacket", "coat"):
        lines += [[(0.0, -0.5), (0.0, hem)], [(-0.3, 0.2), (-0.14, 0.2)], [(0.14, 0.2), (0.3, 0.2)]]
    if kind == "shirt":
        lines += [[(0.0, y), (0.0, y + 0.06)] for y in (-0.35, -0.12, 0.11, 0.34)]
    if kind == "sweater":
        lines += [[(-low, hem - 0.1), (low, hem - 0.1)], [(-low, hem - 0.02), (low, hem - 0.02)]]
    return outlines, lines


def _bottoms(garment: Garment, rng: random.Random) -> tuple[list[Points], list[Points]]:
    """A band at the waist, and a skirt or two legs below it."""
    waist = _vary(0.3, rng)
    lines = [[(-waist, -0.56), (waist, -0.56)]]
    if garment.kind == "skirt":
        hem = _vary({"mini": 0.0, "knee length": 0.36, "maxi": 0.8}[str(garment.length)], rng)
        wide = waist + 0.32 + 0.12 * (hem > 0.5)
        return [[(-waist, -0.65), (waist, -0.65), (wide, hem), (-wide, hem)]], lines
    hem = _vary(0.85 if garment.kind == "trousers" else 0.05, rng)
    legs: list[Points] = [
        [
            (side * -0.02, -0.65),
            (side * waist, -0.65),
            (side * (waist + 0.1), hem),
            (side * 0.1, hem),
            (0.0, -0.2),
        ]
        for side in (-1, 1)
    ]
    return legs, lines


_OUTLINES = {
    **dict.fromkeys(("t-shirt", "shirt", "sweater", "dress", "jacket", "coat"), _tops),
    **dict.fromkeys(("trousers", "shorts", "skirt"), _bottoms),
}


def _pose(rng: random.Random) -> Callable[[tuple[float, float]], tuple[float, float]]:
    """Where a point of the outline comes to lie in the picture."""
    size = SIDE * SCALE / 2 * rng.uniform(0.78, 1.0)
    turn, shear = math.radians(rng.gauss(0, 6)), rng.gauss(0, 0.06)
    left, top = (SIDE * SCALE / 2 * (1 + rng.gauss(0, 0.07)) for _ in range(2))
    cosine, sine = math.cos(turn), math.sin(turn)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point[0] + shear * point[1], point[1]
        return left + size * (cosine * x - sine * y), top + size * (sine * x + cosine * y)

    return place


def _cloth(look: Look, side: int, rng: random.Random) -> Pixels:
    """The colours of the pattern over the whole picture, [side, side, 3]."""
    first = _tinted(look.colour, rng)
    if look.second is None:
        return np.broadcast_to(first, (side, side, 3)).copy()
    y, x = _grid(side)
    period, shift = rng.uniform(5.5, 7.5), rng.uniform(0, 6)
    u, v = (x + shift) / period % 1, (y + shift) / period % 1
    if look.pattern == "striped":
        where = v < 0.42
    elif look.pattern == "dotted":
        where = np.hypot(u - 0.5, v - 0.5) < 0.3
    else:
        where = (u < 0.5) == (v < 0.5)
    second = _tinted(look.second, rng)
    return np.where(where[..., None], second, first)


@cache
def _grid(side: int) -> tuple[Pixels, Pixels]:
    """Rows and columns in units of the small picture's pixels, [side, side] each."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / SCALE
    return y, x


def _tinted(colour: str, rng: random.Random) -> Pixels:
    values = [channel + rng.gauss(0, 9) for channel in COLOURS[colour]]
    return np.clip(np.array(values, np.float32), 0, 255)


def _light(side: int, rng: random.Random) -> Pixels:
    """A slope of light over the picture, [side, side, 1]."""
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
    y, x = _grid(side)
    slope = math.cos(angle) * (x / SIDE - 0.5) + math.sin(angle) * (y / SIDE - 0.5)
    return (rng.uniform(0.85, 1.1) * (1 + strength * slope))[..., None].astype(np.float32)


def _ground(side: int, rng: random.Random) -> Pixels:
    """A light ground of one colour, [side, side, 3]."""
    grey = rng.uniform(165, 235)
    tint = np.array([grey + rng.gauss(0, 12) for _ in range(3)], np.float32)
    return np.broadcast_to(tint, (side, side, 3))
