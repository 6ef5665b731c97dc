"""Memory that a training takes on a card, by shapes and precisions alone: no weight is loaded."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.arms import Arm
from harness.errors import HarnessError
from harness.models import loading, precision
from harness.settings import TrainSettings, full_precision, trainings

if TYPE_CHECKING:
    from torch import nn

CARDS = (24, 40, 80, 141)
"""Sizes of cards that a plan is held against, each counted as so many GiB."""
GIB = 2**30
MOMENTS = 2
"""AdamW's, of the gradient and of its square, in the precision of the weight."""
STEP = 4
"""Bytes of AdamW's count of steps, one for each tensor."""
COPY = 2
"""Bytes of a number in bf16."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each card but for activations.

    Attributes:
        frozen: weights that do not train, in `frozen_precision`.
        trained: weights that train.
        gradients: one number for each trained weight.
        optimizer: AdamW's state.
        copies: what autocast makes of fp32 weights for products, at most; embeddings and single
            rows of numbers go without.
        buckets: DDP's, as large as the gradients, where there are several cards.
        saved: a saved step on disk.
    """

    frozen: int
    frozen_precision: str
    trained: int
    gradients: int
    optimizer: int
    copies: int
    buckets: int
    saved: int

    @property
    def alone(self) -> int:
        """Return what one card takes that trains alone."""
        return self.frozen + self.trained + self.gradients + self.optimizer + self.copies


def training_memory(weights: "Iterable[nn.Parameter]", casts: bool, whole: bool) -> Memory:
    """Return what training takes beside activations.

        frozen + trained (1 + 1 gradient + 2 moments) + 4 bytes a trained tensor + copies

    Args:
        weights: of a model that is ready to train, on any device, `meta` too.
        casts: whether products are made in bf16.
        whole: whether saved steps hold the frozen weights too.
    """
    weights = list(weights)
    trained = [weight for weight in weights if weight.requires_grad]
    size = sum(weight.nbytes for weight in trained)
    frozen = sum(weight.nbytes for weight in weights) - size
    optimizer = MOMENTS * size + STEP * len(trained)
    cast = [weight for weight in weights if weight.itemsize > COPY and weight.ndim > 1]
    return Memory(
        frozen=frozen,
        frozen_precision=precision.names(w for w in weights if not w.requires_grad),
        trained=size,
        gradients=size,
        optimizer=optimizer,
        copies=sum(COPY * weight.numel() for weight in cast) if casts else 0,
        buckets=size,
        saved=size + optimizer + (frozen if whole else 0),
    )


def skeleton(folder: Path, role: str, dtype: Any) -> "nn.Module":
    """Build the module of a model on the meta device: shapes without weights."""
    import torch
    import transformers

    from harness.models import open_clip

    auto = {"vision-language": "AutoModelForImageTextToText", "dual-encoder": "AutoModel"}
    with torch.device("meta"):
        if loading.is_open_clip(folder):
            return open_clip.skeleton(folder).to(dtype)
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        name = auto.get(role, "AutoModelForCausalLM")
        if role == "translator" and config.is_encoder_decoder:
            name = "AutoModelForSeq2SeqLM"
        module: nn.Module = getattr(transformers, name).from_config(config, dtype=dtype)
        return module


def of_arm(arm: Arm) -> dict[str, Memory]:
    """Return what each training of an arm takes on a card that has bf16, by its name."""
    import torch

    assert arm.method.role is not None
    folder = loading.resolve(arm.model)
    config = arm.method.config
    found = {}
    for name, settings in trainings(config).items():
        base, held = folder, precision.of_card(folder, full_precision(config))
        if loading.is_adapter(folder):  # merged first, in fp32
            base, held = loading.base_of(folder), "fp32"
        try:
            module = skeleton(base, arm.method.role, precision.dtype(held))
            model = SimpleNamespace(module=module)
            with torch.device("meta"), warnings.catch_warnings(action="ignore"):
                whole = arm.method.prepare(model, name)
        except (AttributeError, OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise HarnessError(
                f"{base}: cannot be prepared to train '{arm.name}': {reason}"
            ) from None
        found[name] = training_memory(
            model.module.parameters(), settings.precision != "fp32", whole
        )
    return found


def describe(memory: Memory, settings: TrainSettings) -> list[str]:
    """Say what a training takes, in which precision, and which cards have that."""
    products = "fp32" if settings.precision == "fp32" else "bf16"
    parts = [
        ("frozen weights", memory.frozen, memory.frozen_precision),
        ("trained weights", memory.trained, "fp32"),
        ("gradients", memory.gradients, "fp32"),
        ("AdamW", memory.optimizer, "fp32"),
        ("copies for products", memory.copies, products),
    ]
    shown = " + ".join(f"{name} {size(number)} {kind}" for name, number, kind in parts if number)
    cards = [f"{card} GB {_room(card * GIB, memory)}" for card in CARDS]
    return [
        f"a card needs {size(memory.alone)} = {shown}; with several cards "
        f"{size(memory.buckets)} fp32 more for DDP's buckets",
        f"activations come on top: {', '.join(cards)}",
        f"a saved step takes {size(memory.saved)} of disk; up to three are there at once",
    ]


def _room(card: int, memory: Memory) -> str:
    """Say what a card has left for activations: alone, and with others."""
    alone = card - memory.alone
    if alone <= 0:
        return "does not fit"
    together = alone - memory.buckets
    return f"leaves {size(alone)}" + ("" if together > 0 else " (several do not fit)")


def size(number: int) -> str:
    """Return bytes as people read them."""
    return f"{number / GIB:,.1f} GiB" if number >= GIB else f"{number / 2**20:,.1f} MiB"
