"""Adapters: weights laid over a base model, in a folder of their own that names it.

peft's are known; another kind is registered under `harness.adapters` by the name of the JSON file
that marks its folders (`modula` for `modula.json`).
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from harness import registry
from harness.errors import HarnessError
from harness.reading import read_text

PEFT = "adapter_config.json"


class Adapter(ABC):
    """A kind of adapter."""

    base: ClassVar[str]
    """Field of the marking file that names the base model."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    @abstractmethod
    def attach(self, module: Any, folder: Path) -> Any:
        """The base model, loaded, with the folder's weights over it."""

    @abstractmethod
    def merged(self, module: Any) -> Any:
        """What `attach` gave as one plain model; raises `HarnessError` where that cannot be."""

    def settings(self, folder: Path) -> dict[str, Any]:
        """What the marking file says, which names a base model."""
        path = folder / self.marker
        try:
            settings = json.loads(read_text(path), parse_constant=_refused)
            if isinstance(settings[self.base], str):
                return dict(settings)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise HarnessError(f"{path}: names no base model: get the adapter again.")


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class PeftAdapter(Adapter):
    """Any adapter of peft."""

    base = "base_model_name_or_path"

    def attach(self, module: Any, folder: Path) -> Any:
        from harness.models import peft_adapters

        return peft_adapters.attach(module, folder)

    def merged(self, module: Any) -> Any:
        from harness.models import peft_adapters

        return peft_adapters.merged(module)


def file(folder: Path) -> str | None:
    """The file that marks a folder as an adapter's; None for a whole model."""
    markers = [PEFT, *(f"{name}.json" for name in registry.names("adapters"))]
    return next((marker for marker in markers if (folder / marker).exists()), None)


def kind(folder: Path) -> Adapter:
    """The kind of adapter that a folder holds."""
    marker = file(folder)
    if marker is None or marker == PEFT:
        return PeftAdapter(PEFT)
    adapter: Adapter = registry.load("adapters", marker.removesuffix(".json"))(marker)
    return adapter
