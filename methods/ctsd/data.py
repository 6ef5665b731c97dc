"""From rows of parallel text to encoded pairs."""

from collections.abc import Sequence

from harness.models.prompts import TranslationPrompt
from harness.models.translator import EncodedPair
from harness.parallel import parallel_text
from harness.training import Fit
from methods.ctsd.config import DataSettings


def encoded_pairs(fit: Fit, settings: DataSettings) -> list[EncodedPair]:
    """Every row of the training set as tokens; raises `DataError` with the place of a bad one."""
    rows = fit.rows[: settings.limit]
    places = [fit.dataset.place(None, index) for index in range(len(rows))]
    texts = [
        parallel_text(row, settings.source, settings.target, place)
        for row, place in zip(rows, places, strict=True)
    ]
    prompts = [TranslationPrompt(text, settings.source, settings.target) for text, _ in texts]
    translations = [translation for _, translation in texts]
    pairs: list[EncodedPair] = fit.model.encode(prompts, translations, settings.max_length, places)
    return pairs


def mean_length(pairs: Sequence[EncodedPair]) -> float:
    """Mean number of tokens of the translations."""
    return sum(len(pair.target) for pair in pairs) / max(len(pairs), 1)
