"""What the models of all roles have in common."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn


class RoleModel:
    """A plain transformers model with what reads its inputs.

    Attributes:
        module: the transformers model; training and adapters may wrap it.
        folder: where it was loaded from.
        base: folder of the model that its training started from, where a run scores it.
    """

    reader: ClassVar[str] = "tokenizer"
    """Attribute that holds what reads the inputs, saved beside the weights."""
    module: Any
    folder: Path | None = None
    base: Path | None = None

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and reader; an adapter alone where there is one."""
        self.module.save_pretrained(folder)
        getattr(self, self.reader).save_pretrained(folder)

    def readers(self, tokens: int, rows: int) -> Sequence[tuple[Iterable[nn.Parameter], int]]:
        """Which weights read how many tokens of a training on so many of text, in so many rows."""
        return [(self.module.parameters(), tokens)]

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype
