"""The loss of one batch of views, for the trainer."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.contrastive import contrastive_loss
from harness.gathering import gathered
from harness.models.dual_encoder import DualEncoder
from harness.training import Batch, Loss
from methods.fashionklip.config import ConceptSettings
from methods.fashionklip.data import PROMPT
from methods.fashionklip.loss import (
    concept_loss,
    concept_loss_as_released,
    concept_share,
    mixed_loss,
    related_concepts,
)


def contrastive_step(model: DualEncoder, masked: bool = True) -> Loss:
    """Symmetric InfoNCE over the batches of all processes.

    Args:
        masked: whether pairs of one product, or of equal titles, are no negatives (our reading).
    """
    forward = _forward(model)

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        images, texts, scale = forward(module, batch)
        return _itc(images, texts, scale, batch, masked), {}

    return loss


def concept_step(
    model: DualEncoder,
    settings: ConceptSettings,
    images_of: Callable[[], Tensor],
    words: Tensor,
    dtype: torch.dtype | None = None,
) -> Loss:
    """InfoNCE and the concept term, weighed against each other.

    Args:
        images_of: unit vectors of every concept's images now, [concepts, images, width].
        words: codes of each concept's words, -1 behind them, int [concepts, words].
        dtype: what products are made in, where that is not the weights'.
    """
    forward = _forward(model)
    released = settings.as_released

    def loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        images, texts, scale = forward(module, batch)
        itc = _itc(images, texts, scale, batch, not released)
        pictures = gathered(images.detach())
        # Apart from the titles, which are longer. The trainer casts the module's forward alone.
        own = {k.removeprefix(PROMPT): v for k, v in batch.items() if k.startswith(PROMPT)}
        with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
            own_prompts = model.text_features(own)
        numbers, prompts, slots, empty = _concepts(own_prompts, batch)
        known = images_of()[numbers].to(pictures)
        if released:
            cva = concept_loss_as_released(
                pictures, prompts, known, slots, scale, empty, settings.closest
            )
        else:
            related = related_concepts(words.to(numbers.device)[numbers])
            cva = concept_loss(pictures, prompts, known, slots, scale, settings.closest, related)
        most = None if released else settings.most
        said = {"itc": itc, "cva": cva, "share": concept_share(itc, cva, settings.slots, most)}
        return mixed_loss(itc, cva, settings.slots, most), said

    return loss


def _concepts(prompts: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The different concepts of all processes' batches.

    Returns:
        Their numbers, [concepts]; their prompts, [concepts, width]; which stands in each slot,
        [all rows, slots], -1 for none; and the empty prompt, [width].
    """
    own, slots = batch["concepts"], batch["slots"]
    place = torch.searchsorted(own, slots.clamp(min=-1))  # -1, the empty prompt, comes first
    everyones = gathered(prompts[place])  # [all rows, slots, width]
    slots = gathered(slots)
    numbers, inverse = slots.flatten().unique(return_inverse=True)
    first = torch.full((len(numbers),), inverse.numel(), device=inverse.device).scatter_reduce(
        0, inverse, torch.arange(inverse.numel(), device=inverse.device), "amin"
    )
    vectors = everyones.flatten(0, 1)[first]
    none = int((numbers < 0).sum())  # 1 where some slot is empty, and then it is the first
    return numbers[none:], vectors[none:], inverse.view(slots.shape) - none, prompts[0]


def _itc(images: Tensor, texts: Tensor, scale: Tensor, batch: Batch, masked: bool) -> Tensor:
    same = None
    if masked:
        products, titles = gathered(batch["product"]), gathered(batch["text"])
        same = (products[:, None] == products) | (titles[:, None] == titles)
    return contrastive_loss(gathered(images), gathered(texts), scale, same)


def _forward(model: DualEncoder) -> Callable[[nn.Module, Batch], tuple[Tensor, Tensor, Tensor]]:
    """Unit vectors of a batch's pictures and of its texts, and the scale."""
    names = [*model.picture_inputs, *model.text_inputs]

    def forward(module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        out: Any = module(**{name: batch[name] for name in names})
        return out.image_embeds, out.text_embeds, model.scale

    return forward
