"""From rows to preference pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.dataset import Dataset, Row
from harness.errors import DataError, suggestion
from harness.models.pictures import Picture
from harness.models.prompts import VisionPrompt
from harness.models.vision_language import VisionLanguage
from harness.schema import digest
from harness.selection import SAME_ANSWERS
from harness.training import Fit
from methods.aspo.config import PairSettings
from methods.aspo.noise import diffusion_noise
from methods.aspo.segment import sentences

GENERATED_AT_ONCE = 64
"""Rows whose answers are generated, and kept, together."""


@dataclass(frozen=True)
class Pair:
    """Two answers to a question about a picture, the first of which is preferred."""

    row: int
    """Its row in the dataset."""
    image: Picture = field(repr=False)
    question: str
    chosen: str
    rejected: str

    @property
    def prompt(self) -> VisionPrompt:
        return VisionPrompt(self.image, self.question)

    @property
    def content(self) -> list[int | str]:
        """What tells it from other pairs of the same dataset."""
        return [self.row, self.chosen, self.rejected]

    @property
    def sentences(self) -> list[str]:
        """The sentences of the chosen answer, stripped."""
        return [self.chosen[start:end].strip() for start, end in sentences(self.chosen)]


def preference_pairs(fit: Fit, settings: PairSettings) -> list[Pair]:
    """The pairs to train on: those of the dataset, or made from the model's own answers.

    A missing `chosen` is the model's answer to the clean picture, a missing `rejected` its answer
    to the noised one. They depend on the base model, the dataset, these settings and the seed, so
    that every method of a seed trains on the same pairs.
    """
    check_rows(fit.rows, fit.dataset, fit.model.processor.image_token)
    unwanted: dict[str, list[str]] = {}
    order = torch.randperm(len(fit.rows), generator=torch.Generator().manual_seed(fit.seed))
    rows: list[int] = order.tolist()
    pairs: list[Pair] = []
    first = 0
    while first < len(rows) and (settings.limit is None or len(pairs) < settings.limit):
        missing = len(rows) if settings.limit is None else settings.limit - len(pairs)
        block = rows[first : first + max(missing, GENERATED_AT_ONCE)]
        answers = _answers(fit, settings, first, block)
        found = [
            _pair(fit.rows[row], row, answer) for row, answer in zip(block, answers, strict=True)
        ]
        for pair, problem in zip(found, _problems(fit.model, found, settings), strict=True):
            if problem is None:
                pairs.append(pair)
            else:
                place = fit.dataset.place(None, pair.row)
                unwanted.setdefault(problem, []).append(f"{place}: {problem}.")
        first += len(block)
    for problems in unwanted.values():
        fit.notes.add("pairs", problems)
    if not pairs:
        raise DataError(
            f"{fit.dataset.place(None, 0)} and the {len(fit.rows) - 1} rows after it give no pair: "
            "every chosen answer equals its rejected one, or differs in its number of sentences."
        )
    return pairs[: settings.limit]


def check_rows(rows: Sequence[Row], dataset: Dataset, image_token: str) -> None:
    """Raise `DataError` at the first row that is no question about a picture, or half a pair."""
    for index, row in enumerate(rows):
        wrong = next(_wrong(row, image_token), None)
        if wrong is not None:
            raise DataError(f"{dataset.place(None, index)}: {wrong}")


def _wrong(row: Row, image_token: str) -> Iterator[str]:
    if row.get("image") is None:
        yield "no 'image'; a pair needs image, question, chosen and rejected."
    for key in ("question", "chosen", "rejected"):
        value = row.get(key)
        if value is None and key == "question":
            yield "no 'question'; a pair needs image, question, chosen and rejected."
        elif value is not None and not isinstance(value, str):
            yield f"'{key}' is {value!r}, not a text."
        elif value is not None and not value.strip():
            yield f"'{key}' is empty."
        elif value is not None and image_token in value:
            yield f"'{key}' holds '{image_token}', which stands for the picture: remove it."
        elif key not in row and (near := suggestion(key, row)):
            # A mistyped answer would be made by the model in place of the one that is there.
            yield f"no '{key}'. {near}".rstrip()


def _answers(fit: Fit, settings: PairSettings, first: int, block: Sequence[int]) -> list[Any]:
    """What the model says itself where a row has no chosen or no rejected answer."""
    if all(_has(fit.rows[row], "chosen") and _has(fit.rows[row], "rejected") for row in block):
        return [{}] * len(block)
    inputs = {
        **settings.model_dump(include={"noise_step", "chosen_temperature", "max_new_tokens"}),
        "seed": fit.seed,
        "first": first,
        "count": len(block),
    }
    noise = diffusion_noise(settings.noise_step, fit.seed)

    def answer(rows: Sequence[int], start: int) -> list[dict[str, str]]:
        seed = int(digest([fit.seed, first + start]), 16) >> 1
        made: list[dict[str, str]] = [{} for _ in rows]
        for key, temperature, transform in (
            ("chosen", settings.chosen_temperature, None),
            ("rejected", 0.0, noise),
        ):
            asked = [i for i, row in enumerate(rows) if not _has(fit.rows[row], key)]
            texts = fit.model.generate(
                [
                    VisionPrompt(fit.rows[rows[i]]["image"], fit.rows[rows[i]]["question"])
                    for i in asked
                ],
                max_new_tokens=settings.max_new_tokens,
                temperature=temperature,
                seed=seed,
                transform=transform,
            )
            for i, text in zip(asked, texts, strict=True):
                made[i][key] = text
        return made

    return fit.mapped("answers", inputs, block, answer, chunk=GENERATED_AT_ONCE)


def _has(row: Row, key: str) -> bool:
    return row.get(key) is not None


def _pair(row: Row, index: int, answers: dict[str, str]) -> Pair:
    chosen, rejected = (
        row[key] if _has(row, key) else answers[key] for key in ("chosen", "rejected")
    )
    return Pair(index, row["image"], row["question"], chosen, rejected)


def _problems(
    model: VisionLanguage, pairs: Sequence[Pair], settings: PairSettings
) -> list[str | None]:
    """Return what is wrong with each pair; None where it is wanted."""
    chosen, rejected = (
        model.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for texts in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    return [
        _problem(pair, one == other, settings)
        for pair, one, other in zip(pairs, chosen, rejected, strict=True)
    ]


def _problem(pair: Pair, same_tokens: bool, settings: PairSettings) -> str | None:
    if not pair.chosen:
        return "the chosen answer is empty"
    if same_tokens or pair.chosen.strip() == pair.rejected.strip():
        return SAME_ANSWERS
    unequal = len(sentences(pair.chosen)) != len(sentences(pair.rejected))
    if settings.equal_sentences and unequal:
        return "the answers differ in their number of sentences"
    return None
