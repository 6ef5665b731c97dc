"""MoDULA's checkpoint: one folder of safetensors that needs its base model and nothing of ours.

    modula.json                 form, experts with their ranks, adapted layers, base model
    modula.safetensors          LAYER.universal.down, LAYER.experts.NAME.up, LAYER.router, ...
    universal/                  the universal expert as peft's own adapter, for `PeftModel`

and, while experts are trained apart, experts/NAME.safetensors, each with what it was trained on.
`example.py` reads a folder with torch, safetensors and transformers alone.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors
from torch import Tensor, nn

from harness.errors import DataError
from harness.files import write_atomic
from harness.schema import Strict
from methods.modula.adapting import adapted, install, refuse_adapted
from methods.modula.layers import AdaptedLinear, Form, unknown

FORMAT = 1
"""Version of the folder; newer ones are refused, not guessed at."""
SETTINGS, WEIGHTS = "modula.json", "modula.safetensors"


class Settings(Strict):
    """What `modula.json` says: enough to build the layers and to find the base model."""

    format: int = Field(FORMAT, ge=1, le=FORMAT)
    form: Form
    experts: dict[str, int]
    """Rank by domain expert, in the order of the routers' rows."""
    universal_rank: int | None
    """None in the form 'molora' alone, which has no universal expert."""
    slope: float
    """Of LeakyReLU."""
    targets: list[str] = Field(min_length=1)
    """Whole names of the adapted layers."""
    base: str
    """Name of the base model, as `from_pretrained` takes it."""
    base_hash: str
    """Of its weights; whoever saves and loads decides how they are hashed."""

    @model_validator(mode="after")
    def _has_its_experts(self) -> "Settings":
        if (self.form == "molora") != (self.universal_rank is None):
            raise ValueError(f"form '{self.form}' with universal_rank {self.universal_rank}")
        for name, rank in {"universal": self.universal_rank, **self.experts}.items():
            if rank is not None and rank < 1:
                raise ValueError(f"expert '{name}' has rank {rank}, not 1 or more")
        return self


def save(module: nn.Module, folder: Path, base: str, base_hash: str) -> Settings:
    """Write the adapted layers of a model, all or nothing; an older folder is replaced.

    Args:
        module: as `adapt` left it, trained or not.
        folder: to be made.
        base: name of the base model, for `from_pretrained`; written for peft too.
        base_hash: of the base's weights, compared by `load`.
    """
    layers = adapted(module)
    settings = _settings(layers, base, base_hash)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tensors = {f"{n}.{key}": p for n, layer in layers.items() for key, p in _own(layer).items()}
    _write(partial / WEIGHTS, tensors)
    write_atomic(partial / SETTINGS, settings.model_dump_json(indent=1) + "\n")
    if settings.universal_rank is not None:
        _write_adapter(partial / "universal", layers, settings)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return settings


def load(module: nn.Module, folder: Path, base_hash: str) -> Settings:
    """Adapt a base model as a folder says and fill in what it holds.

    Raises `DataError`, the module then being as it was, where a file is missing or damaged or
    belongs to another base model.
    """
    refuse_adapted(module)
    settings = read_settings(folder)
    if base_hash != settings.base_hash:
        raise _other_base(folder, settings, base_hash)
    layers = {name: _layer(module, name, folder, settings) for name in settings.targets}
    expected = {f"{n}.{key}": p for n, layer in layers.items() for key, p in _own(layer).items()}
    _fill(expected, _read(folder / WEIGHTS)[0], folder / WEIGHTS)
    install(module, layers)
    return settings


def read_settings(folder: Path) -> Settings:
    """What the folder's `modula.json` says."""
    path = folder / SETTINGS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Settings.model_validate(said)
    except FileNotFoundError:
        raise DataError(f"{folder}: no checkpoint of MoDULA: it has no {SETTINGS}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if where == "format" or first["type"] == "extra_forbidden":
            raise DataError(f"{path}: '{where}' is of a newer format: update.") from None
        place = f"'{where}': " if where else ""
        raise DataError(f"{path}: {place}{first['msg']}: get the folder again.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}): get the folder again.") from None


def save_expert(module: nn.Module, name: str, folder: Path, base_hash: str) -> Path:
    """Write one domain expert to `experts/NAME.safetensors` of a folder, with what it needs."""
    path = folder / "experts" / f"{name}.safetensors"
    _write(path, _expert(module, name), _trained_on(module, name, base_hash))
    return path


def load_expert(module: nn.Module, path: Path, base_hash: str) -> str:
    """Fill in the domain expert that a file holds, and give its name.

    The module must have an expert of that name and rank (`adapt`, `extend`). Raises `DataError`
    where it was trained on another base model, form or universal expert.
    """
    tensors, said = _read(path)
    name = said.get("expert", "")
    expected = _expert(module, name, path)
    for key, here in _trained_on(module, name, base_hash).items():
        if said.get(key) != here:
            raise DataError(
                f"{path}: expert '{name}' was trained with another {key.replace('_', ' ')} "
                f"({said.get(key)}, here {here}): train it again on this one, or load its own."
            )
    _fill(expected, tensors, path)
    return name


def load_universal(module: nn.Module, folder: Path, base_hash: str) -> None:
    """Fill in the universal expert of a folder, whatever else and whichever form that has."""
    settings = read_settings(folder)
    if base_hash != settings.base_hash:
        raise _other_base(folder, settings, base_hash)
    path = folder / WEIGHTS
    here = {
        f"{name}.universal.{key}": parameter
        for name, layer in adapted(module).items()
        for key, parameter in layer.universal.named_parameters()
    }
    _fill(here, {key: each for key, each in _read(path)[0].items() if key in here}, path)


def universal_hash(module: nn.Module) -> str:
    """Hash of the universal expert of every layer, 16 hex digits."""
    total = hashlib.sha256()
    for name, layer in adapted(module).items():
        for parameter in (layer.universal.down, layer.universal.up):
            total.update(f"{name} {tuple(parameter.shape)}".encode())
            total.update(parameter.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()[:16]


def _other_base(folder: Path, settings: Settings, base_hash: str) -> DataError:
    return DataError(
        f"{folder}: was trained on another base model ({settings.base}, hash "
        f"{settings.base_hash}; this one has {base_hash}): load it onto its own."
    )


def _settings(layers: Mapping[str, AdaptedLinear], base: str, base_hash: str) -> Settings:
    first = next(iter(layers.values()))  # all are alike
    return Settings(
        form=first.form,
        experts=first.ranks,
        universal_rank=None if first.form == "molora" else len(first.universal.down),
        slope=first.slope,
        targets=list(layers),
        base=base,
        base_hash=base_hash,
    )


def _own(layer: AdaptedLinear) -> dict[str, Tensor]:
    """What a layer has beside its linear layer's weights."""
    return {k: p for k, p in layer.named_parameters() if k not in ("weight", "bias")}


def _layer(module: nn.Module, name: str, folder: Path, settings: Settings) -> AdaptedLinear:
    try:
        linear = module.get_submodule(name)
    except AttributeError:
        linear = nn.Identity()
    if type(linear) is not nn.Linear:
        raise DataError(
            f"{folder}: was trained on another base model ({settings.base}): this one has no "
            f"linear layer '{name}'."
        )
    rank = settings.universal_rank or 1
    return AdaptedLinear(linear, settings.form, settings.experts, rank, settings.slope)


def _expert(module: nn.Module, name: str, path: Path | None = None) -> dict[str, Tensor]:
    """The parameters of a domain expert by their keys in a file."""
    layers = adapted(module)
    known = next(iter(layers.values())).ranks
    if name not in known:
        error = unknown(name, known)
        raise DataError(f"{path}: {error}") if path else error
    return {
        f"{layer_name}.experts.{name}.{key}": parameter
        for layer_name, layer in layers.items()
        for key, parameter in layer.experts[name].named_parameters()
    }


def _trained_on(module: nn.Module, name: str, base_hash: str) -> dict[str, str]:
    """What an expert makes sense with. Only those that read h depend on the universal expert."""
    first = next(iter(adapted(module).values()))
    return {
        "version": str(FORMAT),
        "expert": name,
        "base_model": base_hash,
        "form": first.form,
        "rank": str(first.ranks[name]),
        "slope": str(first.slope),
        "universal_expert": universal_hash(module) if first.reads_universal else "none",
    }


def _write(path: Path, tensors: Mapping[str, Tensor], said: dict[str, str] | None = None) -> None:
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_atomic(path, safetensors.save(plain, {"format": "pt", **(said or {})}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise DataError(f"{path}: is not there: get the folder again, or train anew.") from None
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: damaged ({reason}): get it again, or train anew.") from None


@torch.no_grad()
def _fill(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into parameters of the same keys and shapes."""
    odd = sorted(expected.keys() ^ tensors.keys())
    if odd:
        problem = "is missing" if odd[0] in expected else "belongs to no layer"
        raise DataError(f"{path}: '{odd[0]}' {problem}: get the folder again.")
    for key, parameter in expected.items():
        if parameter.shape != tensors[key].shape:
            raise DataError(
                f"{path}: '{key}' is {list(tensors[key].shape)} and would have to be "
                f"{list(parameter.shape)}: it was trained on another base model; load it onto "
                "its own."
            )
    broken = sorted(key for key, each in tensors.items() if not bool(each.isfinite().all()))
    if broken:
        raise DataError(
            f"{path}: '{broken[0]}' holds NaN or infinite values: get the folder again."
        )
    for key, parameter in expected.items():
        parameter.copy_(tensors[key])


def _write_adapter(folder: Path, layers: Mapping[str, AdaptedLinear], settings: Settings) -> None:
    """The universal expert alone as a LoRA adapter of peft: alpha = r, so scale 1."""
    from peft import LoraConfig

    config = LoraConfig(
        r=settings.universal_rank or 1,
        lora_alpha=settings.universal_rank or 1,
        target_modules=settings.targets,
        base_model_name_or_path=settings.base,
        task_type="CAUSAL_LM",
        inference_mode=True,
    ).to_dict()
    plain = {key: sorted(v) if isinstance(v, set) else v for key, v in config.items()}
    write_atomic(folder / "adapter_config.json", json.dumps(plain, indent=1, sort_keys=True) + "\n")
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.universal.down
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.universal.up
    _write(folder / "adapter_model.safetensors", tensors)
