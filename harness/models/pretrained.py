"""Reading folders of transformers: the one way to its `from_pretrained`.

No code of a checkpoint runs, and weights that do not fit the architecture are refused.
"""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoProcessor, AutoTokenizer

from harness.errors import HarnessError
from harness.models.checking import check_finite, check_fit, misfit_of


def read_config(folder: str | Path) -> Any:
    """Read a model's config."""
    return _read(AutoConfig, folder)


def read_tokenizer(folder: str | Path, auto: Any = AutoTokenizer, **options: Any) -> Any:
    """Read a tokenizer; `auto` may be a class of one kind."""
    return _read(auto, folder, **options)


def read_processor(folder: str | Path, auto: Any = AutoProcessor) -> Any:
    """Read a processor of pictures and texts."""
    return _read(auto, folder)


def read_model(
    auto: Any,
    folder: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    role: str = "",
) -> Any:
    """Read a model whose weights fit, for inference.

    Args:
        auto: a class of transformers with `from_pretrained`, or one of its auto classes.
        folder: in transformers' format, or a hub name.
        device: where its weights go.
        dtype: precision of its weights.
        role: whose unused heads a checkpoint may hold (`checking.UNUSED`).

    Raises:
        HarnessError: a weight is missing, surplus, of a wrong shape or not finite; the folder needs
            code of its own; its file of weights is damaged or holds more than weights.
    """
    module, info = _read(
        auto, folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
    )
    check_fit(misfit_of(info, role), type(module).__name__, Path(folder))
    module = module.to(device).eval()
    check_finite(module, Path(folder))
    return module


def _read(auto: Any, folder: str | Path, **options: Any) -> Any:
    refuse_code(Path(folder))
    try:
        return auto.from_pretrained(folder, trust_remote_code=False, **options)
    except pickle.UnpicklingError:
        raise HarnessError(
            f"{folder}: its file of weights is damaged, or a pickle that holds more than weights, "
            "which is never run: get the model as safetensors."
        ) from None
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise _needs_code(folder, "it") from None
        raise


def refuse_code(folder: Path) -> None:
    """Raise where a folder names Python code of its own that transformers would have to run.

    An `auto_map` beside which transformers has the class itself is harmless: that class is taken.
    """
    for path in sorted(folder.glob("*config*.json")):
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # whoever needs the file says what is wrong with it
        if path.name == "config.json" and _known_type(written):
            continue
        for reference in _references(written):
            name = reference.rpartition(".")[2]
            if name.removesuffix("Fast") not in dir(transformers):
                raise _needs_code(path, f"'auto_map' names {reference}, which")


def _known_type(config: Any) -> bool:
    """Return whether transformers has the model of a config itself."""
    kind = config.get("model_type") if isinstance(config, dict) else None
    return isinstance(kind, str) and kind in CONFIG_MAPPING


def _references(value: Any, mapped: bool = False) -> Iterator[str]:
    """Yield the classes that `auto_map`s name, wherever in a JSON value they are."""
    if isinstance(value, str) and mapped:
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _references(each, mapped)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _references(inner, mapped or name == "auto_map")


def _needs_code(place: str | Path, what: str) -> HarnessError:
    return HarnessError(
        f"{place}: {what} needs Python code of the checkpoint's own, which is never run: give a "
        f"model that transformers {transformers.__version__} knows itself."
    )
