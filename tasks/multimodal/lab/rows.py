"""The splits of the scenes, as rows in the items' official formats."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from tasks.multimodal.lab.questions import (
    CATEGORIES,
    DESCRIBE,
    LETTERS,
    absent,
    ask,
    is_there,
    present,
)
from tasks.multimodal.lab.world import Scene, Split, draw, scenes, sentence_truth

Row = dict[str, Any]

POPE_CATEGORIES = ("random", "popular", "adversarial")


def pope(split: Split, images: int, seed: int) -> list[Row]:
    """POPE's questions: one of each category per image, as many yes as no in each.

    Rows have question_id, image, text, label (yes, no) and category.
    """
    rng = random.Random(f"pope {split} {seed}")
    rows: list[Row] = []
    for number, scene in enumerate(islice(scenes(split, seed), images)):
        image = draw(scene, seed)
        for turn, category in enumerate(POPE_CATEGORIES):
            yes = (number + turn) % 2 == 0
            thing = rng.choice(present(scene) if yes else absent(scene, category))
            rows.append(
                {
                    "question_id": len(rows) + 1,
                    "image": image,
                    "text": is_there(thing),
                    "label": "yes" if yes else "no",
                    "category": category,
                }
            )
    return rows


def mmbench(split: Split, images: int, seed: int) -> list[Row]:
    """MMBench's multiple-choice questions, one per image, with VLMEvalKit's columns.

    Rows have index, question, hint, A, B, C, D (None where there are fewer options), answer
    (a letter), category and image.
    """
    rng = random.Random(f"mmbench {split} {seed}")
    rows: list[Row] = []
    for number, scene in enumerate(islice(scenes(split, seed), images)):
        question = ask(CATEGORIES[number % len(CATEGORIES)], scene, rng)
        options = question.options(rng.choice((2, 3, 4)), rng)
        rows.append(
            {
                "index": number + 1,
                "question": question.text,
                "hint": None,
                **dict(zip(LETTERS, options + [None] * (4 - len(options)), strict=True)),
                "answer": LETTERS[options.index(question.answer)],
                "category": question.category,
                "image": draw(scene, seed),
            }
        )
    return rows


def descriptions(split: Split, images: int, seed: int) -> list[Row]:
    """Images to describe in detail: rows have id, image, question and facts (JSON)."""
    return [
        {
            "id": number + 1,
            "image": draw(scene, seed),
            "question": DESCRIBE,
            "facts": scene.facts(),
        }
        for number, scene in enumerate(islice(scenes(split, seed), images))
    ]


def truth(row: Mapping[str, Any], sentences: Sequence[str]) -> list[float]:
    """1.0 for each sentence that is true of the row's facts, 0.0 for false or garbled ones."""
    scene = Scene.from_facts(row["facts"])
    return [1.0 if sentence_truth(scene, sentence) else 0.0 for sentence in sentences]


SPLITS: dict[str, Callable[[], list[Row]]] = {
    "pope": partial(pope, "test", 400, seed=1),
    "pope-dev": partial(pope, "dev", 200, seed=1),
    "mmbench": partial(mmbench, "test", 800, seed=2),
    "mmbench-dev": partial(mmbench, "dev", 400, seed=2),
    "shr": partial(descriptions, "test", 800, seed=3),
    "shr-dev": partial(descriptions, "dev", 300, seed=3),
    "questions": partial(descriptions, "train", 2000, seed=4),
    "questions-dev": partial(descriptions, "dev", 300, seed=4),
}
"""Name of a split -> what makes its rows: always the same ones, made anew at each call."""
