"""peft's adapters: put over a model, filled from a folder whose weights fit, merged.

peft itself passes over keys that do not match, and merges into weights that several layers share.
"""

import json
import pickle
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import MODEL_TYPE_TO_PEFT_MODEL_MAPPING, PeftConfig, PeftModel, load_peft_weights
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from safetensors import SafetensorError
from torch import nn

from harness.errors import HarnessError
from harness.models.checking import PREFIXES, Misfit, check_finite

NAME = "default"
"""What peft calls the only adapter of a model."""
OTHER_BASE = "it was trained over another base model, or its file is damaged: get both again"
SHAPES = re.compile(
    r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)", re.DOTALL
)
"""torch's words on a weight of a wrong shape: its name, its shape in the file and in the model."""


def attach(module: nn.Module, folder: Path) -> PeftModel:
    """Return a model with the adapter of a folder over it, for inference.

    Raises:
        HarnessError: the adapter is damaged, or was trained over another architecture.
    """
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = True
    kind = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(config.task_type), PeftModel)
    try:
        wrapped = kind(module, config, NAME)  # type: ignore[arg-type]
    except ValueError as error:  # the model has none of the layers that the adapter is for
        raise HarnessError(f"{folder}: {_one_line(error)} {OTHER_BASE}.") from None
    fill(wrapped, folder)
    return wrapped


def fill(wrapped: PeftModel, folder: Path, trainable: bool = False) -> None:
    """Read an adapter's weights into a model that has such an adapter.

    Raises:
        HarnessError: weights are missing, surplus, of a wrong shape or not finite.
    """
    try:
        found = wrapped.load_adapter(str(folder), NAME, is_trainable=trainable)
    except (pickle.UnpicklingError, EOFError, OSError, SafetensorError) as error:
        raise HarnessError(
            f"{folder}: its file of weights is missing or damaged, or a pickle that holds more "
            f"than weights, which is never run: get it as safetensors ({_one_line(error)[:100]})."
        ) from None
    except KeyError as error:  # a whole layer that trained beside the adapter
        names = load_peft_weights(str(folder), "cpu")
        alien = [name for name in names if not name.startswith("base_model.")]
        raise _refused(folder, Misfit(map(str, error.args), alien)) from None
    except RuntimeError as error:
        said = SHAPES.findall(str(error))
        shapes = {name: (json.loads(there), json.loads(here)) for name, there, here in said}
        if not shapes:
            raise
        raise _refused(folder, Misfit(shapes=shapes)) from None
    surplus = [] if wrapped.active_peft_config.is_prompt_learning else found.unexpected_keys
    misfit = Misfit(found.missing_keys, surplus)
    if misfit:
        raise _refused(folder, misfit)
    check_finite(wrapped, folder)


def merged(wrapped: PeftModel) -> nn.Module:
    """Return base and adapter as one plain model that computes the same.

    Weights that layers share, as embeddings and output head often do, are parted where the adapter
    changes one of them, and the config says so.

    Raises:
        HarnessError: the adapter cannot be merged.
    """
    base = wrapped.get_base_model()
    tied = dict(getattr(base, "all_tied_weights_keys", {}))
    _part(base)
    try:
        with warnings.catch_warnings():
            for words in ("Model with `tie_word_embeddings", "Input and output embeddings are no"):
                warnings.filterwarnings("ignore", words)  # of what is parted here
            whole: Any = wrapped.base_model.merge_and_unload()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise HarnessError(
            f"an adapter of kind {wrapped.peft_type} cannot be merged into this model "
            f"({_one_line(error)[:200]}): train from the base model."
        ) from None
    if _differing(whole, tied):
        for config in _configs(whole.config):
            config.tie_word_embeddings = False
        left = _differing(whole, whole.get_expanded_tied_weights_keys(all_submodels=True))
        if left:
            raise HarnessError(
                f"the adapter changes {left[0]}, which this architecture shares between layers: "
                "it cannot be merged; train from the base model."
            )
    return whole


def _refused(folder: Path, misfit: Misfit) -> HarnessError:
    cause = OTHER_BASE
    for prefix, advice in PREFIXES.items():
        if misfit.surplus and all(n.startswith(f"{prefix}base_model.") for n in misfit.surplus):
            cause = f"all begin with '{prefix}': {advice}"
    return HarnessError(f"{folder}: not the weights of its adapter: {misfit}: {cause}.")


def _part(base: nn.Module) -> None:
    """Give layers that share a weight one each, where an adapter is on one of them."""
    wrapped = tuple(
        f"{name}."
        for name, module in base.named_modules()
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    )
    shared = defaultdict(list)
    for name, weight in base.named_parameters(remove_duplicate=False):
        shared[weight].append(name)
    for weight, names in shared.items():
        if len(names) > 1 and any(name.startswith(wrapped) for name in names):
            for name in names[1:]:
                parent, _, leaf = name.rpartition(".")
                copy = nn.Parameter(weight.detach().clone(), weight.requires_grad)
                setattr(base.get_submodule(parent), leaf, copy)


def _differing(module: nn.Module, tied: Mapping[str, str]) -> list[str]:
    """Return names of weights that differ from those which they are to share."""
    return [
        name
        for name, source in tied.items()
        if not torch.equal(module.get_parameter(name), module.get_parameter(source))
    ]


def _configs(config: Any) -> Iterator[Any]:
    """Yield a config and those of its parts, where they can say that weights are shared."""
    if hasattr(config, "tie_word_embeddings"):
        yield config
    for name in config.sub_configs:
        yield from _configs(getattr(config, name))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
