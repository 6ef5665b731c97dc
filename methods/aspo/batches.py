"""From preference pairs to batches of tokens and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.dataset import Dataset
from harness.errors import DataError
from harness.models.lengths import positions
from harness.models.vision_language import Encoded, VisionLanguage
from harness.selection import by_difference, by_length
from harness.settings import TooLong
from harness.training import Fit
from methods.aspo.data import Pair
from methods.aspo.segment import sentence_ids, sentences

OWN = {
    "answer_mask",
    "sentence_id",
    "present",
    "reference_chosen",
    "reference_rejected",
    "scores",
}
"""Entries of a batch that the loss reads and the model does not."""


@dataclass(frozen=True)
class Example:
    """A pair with what was computed about it before training."""

    pair: Pair
    reference_chosen: Sequence[float]
    """Log-probability of each token of the chosen answer under the reference."""
    reference_rejected: float
    """Log-probability of the rejected answer under the reference."""
    scores: Sequence[float]
    """One per sentence of the chosen answer: its similarity, or its weight itself."""


def fitting_pairs(
    fit: Fit, pairs: Sequence[Pair], batches: "Batches", too_long: TooLong
) -> list[Pair]:
    """Return the pairs to train on, encoded: not those too long, or equal once they are cut.

    Raises:
        DataError: where such pairs are refused, or none is left.
    """

    def place(index: int) -> str:
        return fit.dataset.place(None, pairs[index].row)

    excess = [batches.excess(pair) for pair in pairs]
    pairs = [pairs[i] for i in by_length(fit.notes, excess, too_long, place, "pairs")]
    encoded = map(batches.encode, pairs)
    same = [one.input_ids.equal(other.input_ids) for one, other, _ in encoded]
    return [pairs[i] for i in by_difference(fit.notes, same, place)]


class Batches:
    """Makes batches of pairs: chosen answers in the first half of the rows, rejected after them.

    Tokens are kept between epochs; pictures come from the model's own cache.
    """

    def __init__(self, model: VisionLanguage, max_length: int | None, dataset: Dataset) -> None:
        self.model = model
        most = positions(model.module)
        self.max_length = max_length
        self.longest = min(max_length or most, most)
        self.dataset = dataset
        self._encoded: dict[int, tuple[Encoded, Encoded, list[int]]] = {}
        self._whole: dict[int, tuple[Encoded, Encoded]] = {}

    def excess(self, pair: Pair) -> int:
        """Return how many tokens the longer answer with its question is over the limit."""
        return max(len(each.input_ids) for each in self._both(pair)) - self.longest

    def _both(self, pair: Pair) -> tuple[Encoded, Encoded]:
        if pair.row not in self._whole:
            chosen = self.model.encode_whole(pair.prompt, pair.chosen)
            self._whole[pair.row] = chosen, self.model.encode_whole(pair.prompt, pair.rejected)
        return self._whole[pair.row]

    def encode(self, pair: Pair) -> tuple[Encoded, Encoded, list[int]]:
        """Both answers as tokens, and the sentence of each token of the chosen one."""
        if pair.row not in self._encoded:
            chosen, rejected = (each.cut(self.longest) for each in self._both(pair))
            del self._whole[pair.row]
            if len(chosen.input_ids) <= chosen.prompt_length:
                raise DataError(
                    f"{self.dataset.place(None, pair.row)}: the question fills the "
                    f"{self.longest} tokens that a pair may have (`pairs.max_length`, or what the "
                    "model reads) and leaves none to answer: leave such pairs out by "
                    "train.too_long=drop."
                )
            ids = sentence_ids(chosen.spans, sentences(pair.chosen))
            self._encoded[pair.row] = chosen, rejected, ids
        return self._encoded[pair.row]

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """Pairs as tensors on the CPU.

        Returns:
            input_ids, attention_mask, answer_mask: [2 * pairs, length].
            sentence_id: of the chosen answers, -1 elsewhere, [pairs, length].
            present: which sentences have tokens, [pairs, sentences].
            the pictures, repeated for the rejected answers.
        """
        chosen, rejected, ids = zip(*map(self.encode, pairs), strict=True)
        prompts = [pair.prompt for pair in pairs]
        batch = self.model.collate([*zip(prompts * 2, (*chosen, *rejected), strict=True)])
        length = batch["input_ids"].shape[1]
        sentence_id = torch.full((len(pairs), length), -1)
        present = torch.zeros(len(pairs), max(map(max, ids)) + 1, dtype=torch.bool)
        for row, (one, of_token) in enumerate(zip(chosen, ids, strict=True)):
            sentence_id[row, one.prompt_length : len(one.input_ids)] = torch.tensor(of_token)
            present[row, of_token] = True
        return {**batch, "sentence_id": sentence_id, "present": present}

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """`__call__`, with references [pairs, length], [pairs] and scores [pairs, sentences]."""
        batch = self([example.pair for example in examples])
        answered = batch["sentence_id"] >= 0
        reference = torch.zeros(answered.shape)
        reference[answered] = torch.tensor([p for e in examples for p in e.reference_chosen])
        scores = torch.zeros(batch["present"].shape)
        for row, example in enumerate(examples):
            kept = example.scores[: scores.shape[1]]
            scores[row, : len(kept)] = torch.tensor(kept)
        rejected = torch.tensor([example.reference_rejected for example in examples])
        return {
            **batch,
            "reference_chosen": reference,
            "reference_rejected": rejected,
            "scores": scores,
        }


def model_inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a batch that the model's forward takes."""
    return {name: value for name, value in batch.items() if name not in OWN}
