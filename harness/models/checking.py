"""Whether weights that were read are those that the architecture needs: else one line says why."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import HarnessError

UNUSED: Mapping[str, Sequence[str]] = {
    "causal-lm": ("v_head.",),  # what PPO estimates values with
    "translator": ("v_head.",),
    "reward": ("lm_head.",),  # of the language model that it was made from
}
"""Role -> beginnings of names of heads that it does not use: a checkpoint may hold them.

What transformers itself ignores for an architecture (position ids, rotary frequencies, tied
copies) never comes here.
"""
PREFIXES = {
    "module.": "saved from DataParallel: strip the prefix",
    "base_model.model.": "saved from a peft model: merge the adapter and save the model itself",
    "_orig_mod.": "saved from torch.compile: strip the prefix",
    "_fsdp_wrapped_module.": "saved from FSDP: strip the prefix",
}
"""Beginnings of names that wrappers of a model add, and what to do."""
SHOWN = 2
"""Names that an error shows of many."""


class Misfit:
    """What is wrong between the weights of a file and those of an architecture."""

    def __init__(
        self,
        missing: Iterable[str] = (),
        surplus: Iterable[str] = (),
        shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]] | None = None,
    ) -> None:
        self.missing = sorted(missing)
        self.surplus = sorted(surplus)
        self.shapes = shapes or {}
        """Name -> its shape in the file, and in the architecture."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus or self.shapes)

    def __str__(self) -> str:
        """The first names of each kind with their number, and no cause."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} missing ({_first(self.missing)})")
        if self.surplus:
            parts.append(f"{len(self.surplus)} surplus ({_first(self.surplus)})")
        if self.shapes:
            shown = [
                f"{name} is {list(there)}, not {list(here)}"
                for name, (there, here) in sorted(self.shapes.items())
            ]
            parts.append(f"{len(self.shapes)} of a wrong shape ({_first(shown)})")
        return ", ".join(parts)


def misfit_of(info: Mapping[str, Any], role: str = "") -> Misfit:
    """Return what transformers' loading info reports, without the heads that a role may ignore."""
    unused = tuple(UNUSED.get(role, ()))
    surplus = [name for name in info["unexpected_keys"] if not (unused and name.startswith(unused))]
    shapes = {name: (there, here) for name, there, here in info["mismatched_keys"]}
    return Misfit(set(info["missing_keys"]) - shapes.keys(), surplus, shapes)


def cause_of(misfit: Misfit, folder: Path) -> str:
    """Return the likely cause of weights that do not fit, and what to do about it."""
    surplus, missing = misfit.surplus, misfit.missing
    if any(".lora_" in name or ".base_layer." in name for name in surplus):
        return "it is an unmerged adapter: merge it into its base model, or give its own folder"
    if prefix := _added_prefix(surplus, missing):
        advice = PREFIXES.get(prefix, "strip the prefix")
        return f"all {len(surplus)} surplus keys begin with '{prefix}': {advice}"
    if misfit.shapes:
        return "config.json is that of another size: put the one there that was saved with it"
    if missing and not surplus:
        return _where_missing(missing, folder)
    if set(surplus) & {name.partition(".")[2] for name in missing}:
        return "the names lack a prefix: save the model again as a whole, by save_pretrained"
    if surplus and not missing:
        return "config.json describes less than the file holds: put the one there saved with it"
    return "it is of another architecture than config.json says: put the one there saved with it"


def check_fit(misfit: Misfit, what: str, folder: Path) -> None:
    """Raise where weights do not fit; `what` names the architecture."""
    if misfit:
        raise HarnessError(
            f"{folder}: not the weights of {what}: {misfit}: {cause_of(misfit, folder)}."
        )


def check_finite(module: nn.Module, place: Path) -> None:
    """Raise where a weight is NaN or infinite: one sum per tensor, read back once."""
    kept = module.state_dict()  # buffers that no file holds, as masks of -inf, are left out
    tensors = {
        name: tensor.detach()
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
        if name in kept and tensor.is_floating_point()
    }
    if not tensors:
        return
    sums = torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors.values()])
    suspects = [
        name for name, fine in zip(tensors, sums.isfinite().tolist(), strict=True) if not fine
    ]
    # A sum of finite numbers may overflow: only what is looked at whole is refused.
    broken = [name for name in suspects if not bool(tensors[name].isfinite().all())]
    if broken:
        raise _not_finite(place, broken, len(tensors))


def _not_finite(place: Path, broken: Collection[str], total: int) -> HarnessError:
    return HarnessError(
        f"{place}: {len(broken)} of {total} weights hold NaN or infinite values "
        f"({_first(broken)}): the training diverged, or the file is damaged: get it again."
    )


@torch.no_grad()
def fill(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into parameters of the same names and shapes; raise where they differ."""
    shapes = {
        name: (tensors[name].shape, tensor.shape)
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    misfit = Misfit(expected.keys() - tensors.keys(), tensors.keys() - expected.keys(), shapes)
    if misfit:
        raise HarnessError(f"{path}: not the weights that train here: {misfit}: remove its folder.")
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise _not_finite(path, broken, len(tensors))
    for name, tensor in expected.items():
        tensor.copy_(tensors[name])


def _where_missing(missing: Sequence[str], folder: Path) -> str:
    """Return why weights are missing, by the index of a checkpoint in several files."""
    index = next(iter(sorted(folder.glob("*.index.json"))), None)
    if index is None:
        return "the file is truncated, or of a model without this part: get the whole checkpoint"
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        file = files.get(missing[0])
    except (OSError, ValueError, KeyError, AttributeError):
        file = None
    if file is None:
        return f"{index.name} does not name them: get the whole checkpoint"
    return f"{file} lacks what {index.name} says of it: get the file again"


def _added_prefix(surplus: Sequence[str], missing: Collection[str]) -> str:
    """Return what all surplus names begin with: a wrapper's, or what missing ones are without."""
    first = surplus[0] if surplus else ""
    starts = [first[: end + 1] for end, sign in enumerate(first) if sign == "."]
    for prefix in [*(each for each in PREFIXES if each in starts), *starts]:
        names = {name.removeprefix(prefix) for name in surplus if name.startswith(prefix)}
        if len(names) == len(surplus) and (prefix in PREFIXES or names & set(missing)):
            return prefix
    return ""


def _first(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown}, ..." if len(names) > SHOWN else shown
