"""A training resumes from weights that fit, or ends in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import training_worker
from safetensors.torch import load_file, save_file
from tiny_llava import tiny_llava
from torch import Tensor

from harness.errors import HarnessError
from harness.seals import seal
from harness.settings import Lora, TrainSettings

Weights = dict[str, Tensor]
FILES = {
    "whole": "model.safetensors",
    "adapter": "adapter_model.safetensors",
    "part": "trained.safetensors",
}
"""What trains -> the file of its weights in a step's folder."""


def train(kind: str, model: Path, folder: Path, epochs: int) -> dict[str, Tensor]:
    """Train, from the last step that is there; return the weights."""
    fit = training_worker.make_fit(model, folder)
    settings = TrainSettings(
        lr=1e-2,
        epochs=epochs,
        batch_size=8,
        micro_batch=8,
        save_steps=3,
        precision="fp32",
        lora=Lora(r=2, alpha=4, targets=["q_proj"]) if kind == "adapter" else None,
    )
    part = list(fit.model.module.lm_head.parameters()) if kind == "part" else None
    rows, collate = training_worker.ROWS, training_worker.collate
    fit.train(rows, collate, training_worker.loss, settings, part)
    found: dict[str, Tensor] = fit.model.module.state_dict()
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module", params=FILES)
def halfway(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """What trains, and a folder with a step in the middle."""
    folder = tmp_path_factory.mktemp(request.param)
    train(request.param, model, folder, 2)
    shutil.rmtree(folder / "steps" / "checkpoint-6")
    return request.param, folder


def first(weights: Weights) -> str:
    return min(name for name in weights if weights[name].ndim == 2)


def without_first(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if name != first(weights)}


def shorter(weights: Weights) -> Weights:
    return weights | {first(weights): weights[first(weights)][:-1].clone()}


def broken(weights: Weights) -> Weights:
    return weights | {first(weights): weights[first(weights)] * float("nan")}


DAMAGES: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "prefix": (lambda w: {f"module.{name}": weight for name, weight in w.items()}, " surplus ("),
    "missing": (without_first, "1 missing ("),
    "surplus": (lambda w: w | {first(w) + "2": torch.ones(2)}, "1 surplus ("),
    "shape": (shorter, "1 of a wrong shape ("),
    "not a number": (broken, "NaN or infinite"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_step_whose_weights_do_not_fit_is_refused(
    damage: str, halfway: tuple[str, Path], model: Path, tmp_path: Path
) -> None:
    kind, folder = halfway
    shutil.copytree(folder, tmp_path / "fit")
    file = tmp_path / "fit" / "steps" / "checkpoint-3" / FILES[kind]
    change, part = DAMAGES[damage]
    save_file(change(load_file(file)), file, {"format": "pt"})
    seal(file.parent)  # as if it had been written so
    with pytest.raises(HarnessError) as caught:
        train(kind, model, tmp_path / "fit", 2)
    assert part in str(caught.value)
    assert "checkpoint-3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_step_is_resumed_to_the_same_weights(
    halfway: tuple[str, Path], model: Path, tmp_path: Path
) -> None:
    kind, folder = halfway
    shutil.copytree(folder, tmp_path / "fit")
    resumed = train(kind, model, tmp_path / "fit", 2)
    anew = train(kind, model, tmp_path / "anew", 2)
    assert all(torch.equal(resumed[name], anew[name]) for name in anew)
