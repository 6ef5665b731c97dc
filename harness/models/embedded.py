"""Models that ship with a package, each with the command that trains it again."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EmbeddedModel:
    """A model folder inside a package. Registered as an instance under `harness.models`."""

    summary: str
    role: str
    folder: Path
    builder: str
    """Import path of the function that trains it, `module:function`, called with the folder to
    write to, a seed, and `arguments`."""
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self, out: Path, seed: int | None = None) -> None:
        """Train the model from scratch into a folder."""
        module, _, name = self.builder.partition(":")
        build = getattr(importlib.import_module(module), name)
        build(out, self.seed if seed is None else seed, **self.arguments)
