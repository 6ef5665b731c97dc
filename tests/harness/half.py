"""A GPU's precision on a CPU: weights in half precision, loaded as they are where bf16 exists."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.models import loading


def pretend_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have models loaded as on a device that has bf16."""
    monkeypatch.setattr(loading, "has_bf16", lambda: True, raising=False)
    monkeypatch.setattr(loading, "placement", lambda: ("cpu", torch.bfloat16))


def halve(folder: Path) -> Path:
    """Rewrite a model's file in bf16."""
    path = folder / "model.safetensors"
    halved = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(halved, path, {"format": "pt"})
    return folder
