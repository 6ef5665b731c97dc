"""From rows of prompts and answers to what the trainer takes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from harness import sequences
from harness.dataset import Dataset, Row
from harness.models.causal_lm import EncodedAnswer
from harness.records import require
from harness.selection import by_length
from harness.settings import TooLong
from harness.training import Collate, Fit
from methods.modula.config import DataSettings

PROMPT, ANSWER = ("prompt", "instruction", "question"), ("answer", "output", "response")
"""Fields that a row may have, the first that is there counts."""


class TrainingRows(NamedTuple):
    """Encoded rows, or sequences packed with them, and how they become a batch."""

    rows: Sequence[Any]
    collate: Collate
    tokens: float
    """Mean number of tokens of the answers in a row or sequence."""


def training_rows(
    fit: Fit,
    sets: Sequence[tuple[Dataset, Sequence[Row]]],
    settings: DataSettings,
    too_long: TooLong = "cut",
) -> TrainingRows:
    """Return the rows of several training sets as tokens.

    Raises:
        DataError: with the place of a row that is bad, or too long where such are refused.
    """
    model = fit.model
    encoded = [row for each in sets for row in _encoded(fit, *each, settings, too_long)]
    answers = sum(len(row.answer) for row in encoded)
    if not settings.pack:
        return TrainingRows(encoded, model.collate, answers / max(len(encoded), 1))
    packed = sequences.pack(encoded, settings.max_length)
    collate = partial(sequences.batch, pad=model.pad_id)
    return TrainingRows(packed, collate, answers / max(len(packed), 1))


def _encoded(
    fit: Fit, dataset: Dataset, rows: Sequence[Row], settings: DataSettings, too_long: TooLong
) -> list[EncodedAnswer]:
    prompts, answers = [], []
    for index, row in enumerate(rows[: settings.limit]):
        place = dataset.place(None, index)
        prompts.append(str(require(row, place, *PROMPT)))
        answers.append(str(require(row, place, *ANSWER)))
    found: list[EncodedAnswer] = fit.model.encode_whole(prompts, answers)
    longest = fit.model.longest(settings.max_length)
    excess = [row.excess(longest) for row in found]
    kept = by_length(fit.notes, excess, too_long, lambda i: dataset.place(None, i))
    return [found[i].cut(longest) for i in kept]
