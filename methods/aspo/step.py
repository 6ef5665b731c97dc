"""The loss of one batch of pairs, for the trainer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness.losses import answer_log_probs, preference_loss
from harness.training import Batch, Loss
from methods.aspo.batches import model_inputs
from methods.aspo.config import LossSettings
from methods.aspo.loss import aspo_margin, sentence_perplexity, sentence_weights


def pair_loss(settings: LossSettings) -> Loss:
    """Mean preference loss of a batch: one forward pass over chosen and rejected answers.

    DPO takes the same way with weights of zero, so that two methods differ in nothing else.
    """

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        log_probs = answer_log_probs(module, model_inputs(batch), batch["answer_mask"])
        chosen, rejected = log_probs.chunk(2)
        chosen_logratio = chosen - batch["reference_chosen"]
        rejected_logratio = rejected.sum(-1) - batch["reference_rejected"]
        weights = batch_weights(batch, chosen.detach(), settings)
        margin = aspo_margin(
            chosen_logratio,
            rejected_logratio,
            batch["sentence_id"],
            weights,
            batch["present"],
            settings.beta,
            settings.normalizer,
            settings.epsilon,
        )
        return preference_loss(margin).mean(), {
            "margin": margin.mean(),
            "accuracy": (margin > 0).float().mean(),
            "chosen_logratio": chosen_logratio.sum(-1).mean(),
            "rejected_logratio": rejected_logratio.mean(),
            "weight": weights.sum() / batch["present"].sum(),
        }

    return loss


def batch_weights(batch: Batch, log_probs: Tensor, settings: LossSettings) -> Tensor:
    """Weights of the chosen answers' sentences, zero at padding, [pairs, sentences].

    Args:
        batch: as `Batches.collate` makes it.
        log_probs: of the chosen answers' tokens under the policy, [pairs, length].
    """
    present, scores = batch["present"], batch["scores"]
    if settings.weights == "none":
        return torch.zeros_like(scores)
    if settings.weights in ("random", "oracle"):
        return scores.masked_fill(~present, 0.0)
    if settings.perplexity == "reference":
        log_probs = batch["reference_chosen"]
    perplexity = sentence_perplexity(log_probs, batch["sentence_id"], present.shape[1])
    return sentence_weights(scores, perplexity, present, settings.alpha)
