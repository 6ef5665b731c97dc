"""What is computed about each pair once, before training: references and sentence scores."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import HarnessError
from harness.losses import answer_log_probs
from harness.models import precision
from harness.models.dual_encoder import DualEncoder
from harness.models.loading import identity
from harness.schema import digest
from harness.settings import TrainSettings
from harness.training import Fit
from methods.aspo.batches import Batches, Example, model_inputs
from methods.aspo.config import AspoConfig, LossSettings
from methods.aspo.data import Pair

Scores = Sequence[Sequence[float]]


def prepared(
    fit: Fit, pairs: Sequence[Pair], batches: Batches, config: AspoConfig
) -> list[Example]:
    """Every pair with its reference log-probabilities and its sentences' scores."""
    references = reference_log_probs(fit, pairs, batches, config.train)
    scores = sentence_scores(fit, pairs, config.loss)
    return [
        Example(pair, reference["chosen"], reference["rejected"], of_sentences)
        for pair, reference, of_sentences in zip(pairs, references, scores, strict=True)
    ]


def reference_log_probs(
    fit: Fit, pairs: Sequence[Pair], batches: Batches, settings: TrainSettings
) -> list[dict[str, Any]]:
    """Log-probabilities under the untrained model: per token of the chosen answer, in sum of the
    rejected one. The model is its own reference before its first step, so no second one is held.
    """
    inputs = {
        "pairs": digest([pair.content for pair in pairs]),
        "max_length": batches.max_length,
        "micro_batch": settings.micro_batch,
        "precision": settings.precision,
        "adapted": settings.lora is not None,
    }

    def score(some: Sequence[Pair], _: int) -> list[dict[str, Any]]:
        batch = _on(fit.device, batches(some))
        answered = batch["answer_mask"]
        log_probs = answer_log_probs(fit.model.module, model_inputs(batch), answered)
        chosen, rejected = log_probs.chunk(2)
        tokens = (row[mask].tolist() for row, mask in zip(chosen, answered, strict=False))
        sums = rejected.sum(-1).tolist()
        return [{"chosen": c, "rejected": r} for c, r in zip(tokens, sums, strict=True)]

    with precision.as_trained(fit.model.module.eval(), settings):
        return fit.mapped("reference", inputs, pairs, score, chunk=settings.micro_batch)


def sentence_scores(fit: Fit, pairs: Sequence[Pair], settings: LossSettings) -> Scores:
    """One number per sentence of each chosen answer, by what the weights are made of."""
    if settings.weights == "random":
        return [_random_scores(pair, fit.seed) for pair in pairs]
    if settings.weights == "oracle":
        return [fit.dataset.truth(fit.rows[pair.row], pair.sentences) for pair in pairs]
    if settings.weights == "aspo" and settings.alpha > 0:
        return _similarities(fit, pairs, settings)
    return [[0.0] * len(pair.sentences) for pair in pairs]


def _random_scores(pair: Pair, seed: int) -> list[float]:
    key = int(digest([seed, *pair.content]), 16) >> 1
    generator = torch.Generator().manual_seed(key)
    scores: list[float] = torch.rand(len(pair.sentences), generator=generator).tolist()
    return scores


def _similarities(fit: Fit, pairs: Sequence[Pair], settings: LossSettings) -> Scores:
    if settings.encoder is None:
        raise HarnessError(
            "the similarity of sentence and picture needs a CLIP model: --set loss.encoder=NAME "
            "(a hub name or a folder), or --set loss.alpha=0 to go without."
        )
    folder = fit.resolve(settings.encoder)
    inputs = {
        "encoder": identity(Path(folder)),
        "text_length": settings.text_length,
        "pairs": digest([pair.content for pair in pairs]),
    }
    encoder = cache(lambda: similarity_encoder(folder, settings.text_length, fit.device))

    def score(some: Sequence[Pair], _: int) -> list[dict[str, Any]]:
        return [{"scores": row} for row in encoder()(some)]

    rows = fit.mapped("similarity", inputs, pairs, score, chunk=64)
    return [row["scores"] for row in rows]


def similarity_encoder(
    folder: str, text_length: int, device: torch.device
) -> Callable[[Sequence[Pair]], list[list[float]]]:
    """A function that gives cos(CLIP_text(s_i), CLIP_image(x)) of the sentences of pairs."""
    from transformers import AutoModel

    from harness.models.pretrained import read_model, read_processor

    processor = read_processor(folder)
    model = read_model(AutoModel, folder, device)
    encoder = DualEncoder(model, processor)
    names = encoder.tokenizer.model_input_names  # SigLIP's has no mask

    @torch.inference_mode()
    def score(pairs: Sequence[Pair]) -> list[list[float]]:
        texts = [pair.sentences for pair in pairs]
        tokens = encoder.tokens([text for of_pair in texts for text in of_pair], text_length)
        inputs = {
            **{name: value for name, value in tokens.items() if name in names},
            **encoder.pixels([pair.image for pair in pairs]),
        }
        out = model(**{name: value.to(device) for name, value in inputs.items()})
        count = torch.tensor([len(of_pair) for of_pair in texts], device=device)
        of_sentence = out.image_embeds.repeat_interleave(count, 0)
        cosine = torch.cosine_similarity(out.text_embeds, of_sentence)
        return [row.tolist() for row in cosine.split(count.tolist())]

    return score


def _on(device: torch.device, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}
