"""The loss of one batch of translations, for the trainer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.losses import at_head, token_log_probs, unwrapped
from harness.training import Batch, Loss
from methods.ctsd.config import LossSettings
from methods.ctsd.loss import (
    attended,
    contrastive_token,
    cosine_similarity,
    distance_decay,
    first_occurrences,
    preceding,
    scores_of_hidden,
    unlikelihood,
)

OWN = ("labels", "label_mask")
"""Entries of a batch that the loss reads and the model does not."""


def translation_loss(settings: LossSettings, tokens: float) -> Loss:
    """Cross-entropy and a term against repetition, per token, as the mean over a batch's rows.

    Args:
        settings: the term.
        tokens: mean length of the translations trained on. Sums over a row are divided by it, a
            constant, so that every token counts alike in whatever micro-batch and process it is.
    """

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        inputs = {name: value for name, value in batch.items() if name not in OWN}
        labels, mask = batch["labels"], batch["label_mask"]
        with _attention(module, settings) as attention:

            def sums(hidden: Tensor, head: Tensor, bias: Tensor | None) -> Tensor:
                log_probs = hidden.new_zeros(labels.shape, dtype=torch.float32).masked_scatter(
                    mask, token_log_probs(hidden[mask], head, labels[mask], head_bias=bias)
                )
                term = repetition_term(
                    settings, hidden, head, bias, labels, mask, log_probs, attention
                )
                return torch.stack([-log_probs.sum(1), term.sum(1)], 1)

            likelihood, repeated = (at_head(module, inputs, sums) / tokens).mean(0)
        return likelihood + settings.strength * repeated, {
            "cross_entropy": likelihood,
            "term": repeated,
        }

    return loss


def repetition_term(
    settings: LossSettings,
    hidden: Tensor,
    head: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    mask: Tensor,
    log_probs: Tensor,
    attention: list[Tensor],
) -> Tensor:
    """The term of every step, zero where there is no label, [batch, length]."""
    if settings.term == "none":
        return torch.zeros_like(log_probs)
    with torch.autocast(hidden.device.type, enabled=False):
        scores = scores_of_hidden(hidden.float(), head, bias, labels)
        if settings.term == "unlikelihood":
            candidates = preceding(labels, mask, None) & first_occurrences(labels)[:, None, :]
            return unlikelihood(scores, log_probs, candidates)
        negatives = preceding(labels, mask, settings.window)
        return contrastive_token(scores, negatives, log_weights(settings, hidden, attention))


def log_weights(settings: LossSettings, hidden: Tensor, attention: list[Tensor]) -> Tensor | None:
    """log of similarity times decay, [batch or 1, length, length]; None where all weigh 1."""
    weights: Tensor | None = None
    if settings.similarity == "cosine":
        weights = cosine_similarity(hidden)
    elif settings.similarity == "attention":
        weights = attended(attention[0])
    if settings.decay != "none":
        decay = distance_decay(hidden.shape[1], settings.gamma, settings.decay).to(hidden.device)
        weights = decay[None] if weights is None else weights * decay
    return None if weights is None else weights.log()


@contextmanager
def _attention(module: nn.Module, settings: LossSettings) -> Iterator[list[Tensor]]:
    """The last decoder layer's self-attention, put into a list as the module runs."""
    seen: list[Tensor] = []
    if settings.term != "contrastive" or settings.similarity != "attention":
        yield seen
        return

    def keep(_: nn.Module, __: Any, output: tuple[Tensor, Tensor]) -> None:
        seen[:] = [output[1]]

    layer = unwrapped(module).get_decoder().layers[-1].self_attn
    handle = layer.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
