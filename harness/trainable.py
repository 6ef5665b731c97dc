"""Checks of what a training's settings name in a model: frozen parts, and layers for adapters."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.errors import HarnessError, suggestion
from harness.settings import Lora, TrainSettings

SHOWN = 12
"""Most names that an error lists."""


def check_config(module: nn.Module, config: BaseModel) -> None:
    """Check each training of a method's config against the model that it starts from."""
    for field, settings in config:
        if isinstance(settings, TrainSettings):
            check(module, settings, field)


def check(module: nn.Module, settings: TrainSettings, field: str = "train") -> None:
    """Check that the settings name parts of a model, and leave something to train.

    Args:
        module: the model before anything is frozen or adapted.
        field: of the method's config, for messages.

    Raises:
        HarnessError: where a part to freeze, or a layer to adapt, is in no name, or all is frozen.
    """
    names = [name for name, _ in module.named_parameters()]
    trains = names
    if settings.lora is not None:
        trains = [
            f"{layer}.lora_{side}.default.weight"
            for layer in adapted_layers(module, settings.lora, f"{field}.lora.targets")
            for side in "AB"
        ]
    for part in settings.freeze:
        if not any(part in name for name in (*names, *trains)):
            known = _parts(names)
            raise HarnessError(
                f"{field}.freeze: '{part}' is in no parameter's name. {suggestion(part, known)}"
                f"Parts of names: {_shown(known)}."
            )
    if all(any(part in name for part in settings.freeze) for name in trains):
        raise HarnessError(
            f"{field}.freeze: {', '.join(map(repr, settings.freeze))} leaves nothing to train: "
            "freeze less."
        )


def adapted_layers(module: nn.Module, lora: Lora, field: str = "train.lora.targets") -> list[str]:
    """Return the names of the layers that LoRA's targets mean, as peft reads them.

    Raises:
        HarnessError: where one target means none; peft passes over all but the last such.
    """
    if lora.targets == "all-linear":  # peft itself leaves the output head out
        linear = _linear(module)
        if not linear:
            raise HarnessError(f"{field}: the model has no linear layer to adapt.")
        return linear
    layers = [name for name, _ in module.named_modules() if name]
    by_pattern = isinstance(lora.targets, str)
    targets = [lora.targets] if isinstance(lora.targets, str) else lora.targets
    if not targets:
        raise HarnessError(f"{field} is empty: name layers, or leave train.lora out.")
    found: dict[str, None] = {}
    for target in targets:
        chosen = _matches(target, layers, by_pattern, field)
        if not chosen:
            raise _no_layer(target, module, by_pattern, field)
        found |= dict.fromkeys(chosen)
    return list(found)


def _matches(target: str, layers: Sequence[str], by_pattern: bool, field: str) -> list[str]:
    if not by_pattern:
        return [name for name in layers if name == target or name.endswith(f".{target}")]
    try:
        return [name for name in layers if re.fullmatch(target, name)]
    except re.error as error:
        raise HarnessError(f"{field}: '{target}' is not a regular expression: {error}.") from None


def _no_layer(target: str, module: nn.Module, by_pattern: bool, field: str) -> HarnessError:
    known = list(dict.fromkeys(name.rpartition(".")[2] for name in _linear(module)))
    hint = suggestion(target, known)
    if by_pattern and target in known:
        hint = f"A text is a regular expression for whole names: give a list, [{target}]. "
    return HarnessError(
        f"{field}: '{target}' is the name of no layer. {hint}Linear layers: {_shown(known)}."
    )


def _linear(module: nn.Module) -> list[str]:
    kinds = (nn.Linear, Conv1D)
    return [name for name, each in module.named_modules() if isinstance(each, kinds)]


def attached(module: nn.Module, config: Any) -> nn.Module:
    """Return the module with peft's adapters; raise `HarnessError` where peft refuses them."""
    from peft import get_peft_model

    try:
        return get_peft_model(module, config)  # type: ignore[arg-type]
    except (ValueError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"train.lora: peft refuses it: {reason}") from None


def _parts(names: Iterable[str]) -> list[str]:
    """Return the words of dotted names, without numbers, in the order of their first use."""

    def words() -> Iterator[str]:
        for name in names:
            yield from (word for word in name.split(".") if not word.isdecimal())

    return list(dict.fromkeys(words()))


def _shown(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
