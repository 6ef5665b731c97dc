"""From a model's name to a model in memory: embedded, local folder, or hub name."""

import importlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import HarnessError, suggestion
from harness.files import hash_file
from harness.models import ROLES, adapters, precision, probing
from harness.models.embedded import EmbeddedModel
from harness.schema import digest

WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
NOT_ON_HUB = (".", "/", "~", "lab/")
"""What the name of a folder or an embedded model begins with."""
OPEN_CLIP = "open_clip_config.json"
"""What marks a folder of open_clip's, where transformers' own is not there too."""
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SETTINGS = (
    "config.json",
    OPEN_CLIP,
    "generation_config.json",
    "*processor*.json",
    "chat_template*",
    "*.jinja",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "rewriting.json",
)


def resolve(name: str) -> Path:
    """The folder of a model: embedded, local, or downloaded from the hub's cache or the hub."""
    if registry.registered("models", name):
        model: EmbeddedModel = registry.load("models", name)
        if not any(model.folder.glob("*.safetensors")):
            raise HarnessError(f"model '{name}' has no weights: `harness build {name}` makes them.")
        return model.folder
    folder = Path(os.path.expanduser(name))
    if os.path.isdir(folder):  # unlike Path.is_dir, False for overlong names
        if not ((folder / "config.json").exists() or is_adapter(folder) or is_open_clip(folder)):
            raise HarnessError(
                f"{folder}: no model: neither config.json nor {adapters.PEFT} is there."
            )
        return folder
    if not on_hub(name):
        raise HarnessError(
            f"no model '{name}': no such folder, and not embedded. "
            f"{suggestion(name, registry.names('models'))}"
            "`harness list models` shows the embedded ones."
        )
    return _download(name)


def on_hub(name: str) -> bool:
    """Whether only the hub can have a model of that name."""
    local = registry.registered("models", name) or os.path.isdir(os.path.expanduser(name))
    return not local and name.count("/") == 1 and not name.startswith(NOT_ON_HUB)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        ignored = ["*.bin", "*.pt", "*.h5", "*.msgpack"]
        folder = Path(snapshot_download(name, ignore_patterns=ignored))
        if is_open_clip(folder) and not (folder / OPEN_CLIP_WEIGHTS[0]).exists():
            snapshot_download(name, allow_patterns=[OPEN_CLIP_WEIGHTS[1]])
        return folder
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise HarnessError(
            f"model '{name}' is neither here nor on the hub ({type(error).__name__}: {reason}): "
            "check the name and the network, or give a folder."
        ) from None


def identity(folder: Path) -> str:
    """Hash of a model's weights and of everything that changes what it reads and says.

    An adapter's settings and its base model belong to it.
    """
    files = sorted({path for pattern in (*WEIGHTS, *SETTINGS) for path in folder.glob(pattern)})
    hashes = [[path.name, hash_file(path)] for path in files]
    if not is_adapter(folder):
        return digest(hashes)
    adapter = adapters.kind(folder)
    settings = adapter.settings(folder)
    base = identity(resolve(settings.pop(adapter.base)))
    return digest([base, settings, hashes])


def parameters(folder: Path) -> int:
    """How many weights a model's files hold, read from their headers alone."""
    total = sum(size for _, size in weight_sizes(folder))
    return total + (parameters(base_of(folder)) if is_adapter(folder) else 0)


def weight_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield precision, as safetensors names it, and size of each tensor in a folder's files."""
    from safetensors import SafetensorError, safe_open

    files = [*folder.glob("*.safetensors")] or [*folder.glob("*_model*.bin")]
    if is_open_clip(folder):
        files = [open_clip_weights(folder)]
    elif len(files) > 1:  # both formats side by side
        files = [path for path in files if path.name not in OPEN_CLIP_WEIGHTS]
    for path in files:
        if path.suffix != ".safetensors":
            yield from _pickled_sizes(path)
            continue
        try:
            with safe_open(path, framework="np") as file:
                parts = [file.get_slice(key) for key in file.keys()]  # noqa: SIM118
                yield from ((part.get_dtype(), prod(part.get_shape())) for part in parts)
        except (OSError, SafetensorError) as error:
            raise HarnessError(
                f"{path}: damaged, or no safetensors file ({error}): get it again."
            ) from None


def _pickled_sizes(path: Path) -> Iterator[tuple[str, int]]:
    """The same of torch's format, without reading the numbers."""
    import torch

    try:
        weights = torch.load(path, map_location="meta", weights_only=True)
        for tensor in weights.values():
            yield (
                "F32" if tensor.dtype in (torch.float32, torch.float64) else "F16",
                tensor.numel(),
            )
    except Exception as error:  # what a damaged pickle raises is of any kind
        raise HarnessError(
            f"{path}: damaged, or no weights ({type(error).__name__}): get it again."
        ) from None


def is_open_clip(folder: Path) -> bool:
    """Whether a folder holds a checkpoint in open_clip's format alone."""
    return (folder / OPEN_CLIP).exists() and not (folder / "config.json").exists()


def open_clip_weights(folder: Path) -> Path:
    """The file of an open_clip checkpoint's weights."""
    for name in OPEN_CLIP_WEIGHTS:
        if (folder / name).exists():
            return folder / name
    raise HarnessError(f"{folder}: no weights: put {' or '.join(OPEN_CLIP_WEIGHTS)} there.")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in place of a whole model."""
    return adapters.file(folder) is not None


def base_of(folder: Path) -> Path:
    """The folder of an adapter's base model."""
    adapter = adapters.kind(folder)
    return resolve(adapter.settings(folder)[adapter.base])


def device_kind() -> str:
    """`cpu`, or the GPU's name: results may differ in the last digits between them."""
    if version("torch").endswith("+cpu"):
        return "cpu"  # so a run that finds everything done imports no torch
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def has_bf16() -> bool:
    """Tell whether the device of this process has bf16."""
    if version("torch").endswith("+cpu"):
        return False
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def placement() -> tuple[str, Any]:
    """The device of this process, and the precision of weights there: bf16 where it has that."""
    import torch

    gpu = torch.cuda.is_available()
    device = f"cuda:{torch.cuda.current_device()}" if gpu else "cpu"
    return device, torch.bfloat16 if has_bf16() else torch.float32


def load(folder: Path, role: str, dtype: Any = None) -> Any:
    """Read a model in its role onto the device of this process.

    Args:
        folder: of a whole model, or of an adapter that names its base.
        role: one of `ROLES`.
        dtype: precision of its weights; None as the files hold them (`precision.of_loading`).

    Raises:
        HarnessError: it cannot be read, its weights do not fit, or it needs code of its own.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    device, _ = placement()
    dtype = dtype or precision.dtype(precision.of_loading(folder))
    module, _, name = ROLES[role].partition(":")
    whole = base_of(folder) if is_adapter(folder) else folder
    if is_adapter(whole):
        raise HarnessError(f"{folder}: its base model {whole} is an adapter itself: merge that.")
    try:
        kind = getattr(importlib.import_module(module), name)
        model = kind.load(whole, device, dtype)
        if whole != folder:
            model.module = adapters.kind(folder).attach(model.module, folder).eval()
        model.folder = folder
        probing.probe(model)
        return model
    except HarnessError:
        raise
    except Exception as error:  # a damaged folder shows in many ways
        reason = " ".join(str(error).partition("Model type should be")[0].split())[:300]
        raise HarnessError(f"{folder}: cannot be loaded as a {role} model: {reason}") from error


def merge(folder: Path, role: str, out: Path) -> None:
    """Write an adapter and its base as one whole model that computes the same.

    Summed and saved in fp32, so that the sum is what the adapter was trained to be.
    """
    import torch

    model = load(folder, role, torch.float32)
    model.module = adapters.kind(folder).merged(model.module)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save(partial)
    partial.rename(out)
