"""The loss of one batch of pairs, for the trainer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.losses import answer_log_probs, dpo_margin, preference_loss
from harness.models import precision
from harness.models.causal_lm import DELIMITER, CausalLM, EncodedAnswer
from harness.models.rewriting import Rewriting
from harness.schema import digest
from harness.selection import by_difference, by_length
from harness.settings import TooLong, TrainSettings
from harness.training import Batch, Fit, Loss
from methods.poir.choice import Pair
from methods.poir.config import LossSettings

MODEL_INPUTS = ("input_ids", "attention_mask")


class Example(NamedTuple):
    """A pair as tokens, with the log-probabilities of both texts under the reference."""

    chosen: EncodedAnswer
    rejected: EncodedAnswer
    reference_chosen: float
    reference_rejected: float


def examples(
    fit: Fit,
    reference: CausalLM,
    pairs: Sequence[Pair],
    rewriting: Rewriting,
    settings: TrainSettings,
    places: Sequence[str] | None = None,
) -> list[Example]:
    """Return the pairs to train on, the wish to rewrite the prompt as context: not those too long,
    or whose two texts are the same tokens.

    Args:
        places: of the prompts, for messages; the prompts themselves without them.
    """
    texts = reference.prompt_texts([rewriting.filled(pair.prompt) for pair in pairs])
    delimiter = "" if reference.tokenizer.chat_template else DELIMITER
    chosen, rejected = (
        reference.encode_whole(texts, [getattr(pair, name) for pair in pairs], delimiter)
        for name in ("chosen", "rejected")
    )
    kept = _trained_on(
        fit,
        reference,
        list(zip(chosen, rejected, strict=True)),
        settings.too_long,
        places or [repr(pair.prompt) for pair in pairs],
    )
    both = list(kept.values())
    pairs = [pairs[i] for i in kept]

    def score(some: Sequence[tuple[EncodedAnswer, EncodedAnswer]], _: int) -> list[dict[str, Any]]:
        rows = [*(one for one, _ in some), *(other for _, other in some)]
        inputs = {
            name: value.to(reference.device) for name, value in reference.collate(rows).items()
        }
        sums = _sums(reference.module, inputs).view(2, len(some)).T.tolist()
        return [{"chosen": one, "rejected": other} for one, other in sums]

    key = {
        "pairs": digest([list(pair) for pair in pairs]),
        "template": rewriting.template,
        "precision": settings.precision,
        "adapted": settings.lora is not None,
    }
    with precision.as_trained(reference.module, settings):
        found = fit.mapped("reference", key, both, score, chunk=settings.micro_batch)
    return [
        Example(*tokens, known["chosen"], known["rejected"])
        for tokens, known in zip(both, found, strict=True)
    ]


def _trained_on(
    fit: Fit,
    reference: CausalLM,
    both: Sequence[tuple[EncodedAnswer, EncodedAnswer]],
    too_long: TooLong,
    places: Sequence[str],
) -> dict[int, tuple[EncodedAnswer, EncodedAnswer]]:
    """Return the pairs that are kept, cut to what the model reads, by their indices."""
    longest = reference.longest()
    excess = [max(each.excess(longest) for each in pair) for pair in both]
    fits = by_length(fit.notes, excess, too_long, lambda i: places[i], "pairs")
    cut = {i: (both[i][0].cut(longest), both[i][1].cut(longest)) for i in fits}
    same = [one.answer.equal(other.answer) for one, other in cut.values()]
    kept = by_difference(fit.notes, same, lambda i: places[fits[i]])
    return {fits[i]: cut[fits[i]] for i in kept}


def collate(model: CausalLM) -> Callable[[Sequence[Example]], dict[str, Tensor]]:
    """Examples as a batch: chosen texts in the first half of the rows, rejected after them.

    Beside the model's inputs, `answer_mask` and `reference`, [2 * pairs] each first.
    """

    def batch(some: Sequence[Example]) -> dict[str, Tensor]:
        found = model.collate([*(each.chosen for each in some), *(each.rejected for each in some)])
        reference = [each.reference_chosen for each in some]
        reference += [each.reference_rejected for each in some]
        return {**found, "reference": torch.tensor(reference)}

    return batch


def pair_loss(settings: LossSettings, tokens: float) -> Loss:
    """Mean loss of a batch of pairs.

    Args:
        tokens: mean length of the chosen texts, by which `sft` divides a row's sum, so that every
            token counts alike in whatever micro-batch it is.
    """

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        chosen, rejected = _sums(module, batch).chunk(2)
        reference_chosen, reference_rejected = batch["reference"].chunk(2)
        chosen_logratio, rejected_logratio = (
            chosen - reference_chosen,
            rejected - reference_rejected,
        )
        margin = dpo_margin(chosen_logratio, rejected_logratio, settings.beta)
        value = preference_loss(margin).mean()
        if settings.kind == "sft":
            value = -chosen.mean() / tokens
        return value, {
            "margin": margin.mean(),
            "accuracy": (margin > 0).float().mean(),
            "chosen_logratio": chosen_logratio.mean(),
            "rejected_logratio": rejected_logratio.mean(),
        }

    return loss


def _sums(module: nn.Module, batch: Batch) -> Tensor:
    """log p of each row's answer, [rows]."""
    inputs = {name: batch[name] for name in MODEL_INPUTS}
    return answer_log_probs(module, inputs, batch["answer_mask"]).sum(1)
