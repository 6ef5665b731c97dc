"""Precision of weights and products, `fp32` or `bf16`, of what trains and of what is scored.

    trained weights    fp32 always: at the rates of fine-tuning a step is less than bf16 can tell
    frozen weights     as loaded: fp32 where `train.precision` says so or the files hold fp32
    products           bf16 by autocast, or fp32, as `train.precision` says
    scored weights     as the files hold them, so that a trained model is scored as it was trained

Where the device has no bf16, all is fp32. Nothing here imports torch before it must.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harness.settings import TrainSettings

Precision = Literal["fp32", "bf16"]
FULL = ("F32", "F64")
"""safetensors' names of precisions that bf16 would round."""


def of_loading(folder: Path, full: bool = False) -> Precision:
    """Return the precision that a model's weights are loaded in, to be scored or to start from.

    Args:
        folder: a model, or an adapter, whose base counts.
        full: whether its training asks for fp32 throughout (`settings.full_precision`).
    """
    return of_card(folder, full) if usual() == "bf16" else "fp32"


def of_card(folder: Path, full: bool = False) -> Precision:
    """Return the same where the device has bf16, whether this one does or not."""
    from harness.models import loading

    if full:
        return "fp32"
    return stored(loading.base_of(folder) if loading.is_adapter(folder) else folder)


def stored(folder: Path) -> Precision:
    """Return the precision of most of a model's weights in its files; half precision is bf16."""
    from harness.models import loading

    sizes: Counter[bool] = Counter()
    for name, size in loading.weight_sizes(folder):
        sizes[name in FULL] += size
    return "fp32" if sizes[True] > sizes[False] else "bf16"


def dtype(precision: Precision) -> "torch.dtype":
    """Return torch's type of a precision."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def usual() -> Precision:
    """Return what `train.precision=auto` stands for on this machine."""
    from harness.models import loading

    return "bf16" if loading.has_bf16() else "fp32"


def casts(settings: "TrainSettings", device: "torch.device") -> bool:
    """Tell whether a training makes products in bf16, by autocast around the module's forward."""
    if settings.precision == "auto":
        return device.type == "cuda" and usual() == "bf16"
    return settings.precision == "bf16"


def widen(tensors: "Iterable[torch.Tensor]") -> None:
    """Make fp32 of tensors in half precision, in place."""
    import torch

    for tensor in tensors:
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor.data = tensor.data.float()


def widen_model(module: "nn.Module") -> None:
    """Make fp32 of a whole model: weights, frozen ones too, and buffers."""
    widen([*module.parameters(), *module.buffers()])


@contextmanager
def as_trained(module: "nn.Module", settings: "TrainSettings") -> Iterator[None]:
    """Compute without gradient as the training will, with its weights and its products.

    A reference that is computed otherwise differs from the policy before its first step.
    """
    import torch

    if settings.lora is None:
        widen_model(module)
    device = next(module.parameters()).device
    with (
        torch.no_grad(),
        torch.autocast(device.type, torch.bfloat16, enabled=casts(settings, device)),
    ):
        yield


def of_training(module: "nn.Module", settings: "TrainSettings") -> dict[str, Any]:
    """Return the precision of a prepared module's trained weights and of its products, as fields
    of `Cost`."""
    device = next(module.parameters()).device
    return {
        "trained_precision": names(p for p in module.parameters() if p.requires_grad),
        "product_precision": "bf16" if casts(settings, device) else "fp32",
    }


def names(weights: "Iterable[nn.Parameter]") -> str:
    """Return the precisions of weights, joined by `+`; empty where there are none."""
    found = sorted({str(weight.dtype).removeprefix("torch.") for weight in weights})
    short = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}
    return "+".join(short.get(name, name) for name in found)
