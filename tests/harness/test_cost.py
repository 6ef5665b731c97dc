"""What a training counts, and that no model's lack ends it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_adapted_dual_encoder import trained
from test_dual_encoder import WORDS
from tiny_clip import tiny_clip
from torch import Tensor, nn
from transformers import CLIPModel

from harness import throughput
from harness.models.role import RoleModel
from harness.schema import Cost
from harness.settings import TrainSettings

SETTINGS = TrainSettings(lr=1e-2, batch_size=4, micro_batch=4, precision="fp32")


class Plain(RoleModel):
    """A model of nothing but a matrix."""

    def __init__(self) -> None:
        self.module = nn.Linear(3, 1)


def fitted(model: Any, folder: Path, **batch: Tensor) -> Cost:
    """Train on four rows of ones for one step."""

    def loss(module: nn.Module, _: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return module(torch.ones(4, 3)).mean(), {}

    fit = throughput.synthetic_fit(model, folder, seed=0)
    fit.train(list(range(4)), lambda _: {"rows": torch.ones(4), **batch}, loss, SETTINGS)
    assert fit.cost is not None
    return fit.cost


def test_the_usual_count_is_by_hand(tmp_path: Path) -> None:
    cost = fitted(Plain(), tmp_path, attention_mask=torch.ones(4, 5, dtype=torch.long))
    assert cost == Cost(
        total_parameters=4, trainable_parameters=4, train_tokens=20, train_flops=6 * 20 * 4
    )
    assert "uncounted" not in cost.model_dump()


def test_a_model_that_cannot_be_counted_still_ends_its_training(tmp_path: Path) -> None:
    class Broken(Plain):
        def readers(self, tokens: int, rows: int) -> Any:
            raise AttributeError("no\nplaces")

    cost = fitted(Broken(), tmp_path, attention_mask=torch.ones(4, 5, dtype=torch.long))
    assert (cost.train_tokens, cost.train_flops) == (20, 0)
    assert cost.uncounted == "operations, and tokens that are no text: no places"


def test_batches_without_a_mask_say_that_their_tokens_are_not_counted(tmp_path: Path) -> None:
    cost = fitted(Plain(), tmp_path)
    assert cost.train_tokens == 0
    assert cost.uncounted == "tokens: the batches have no attention_mask"


@pytest.mark.parametrize(
    ("lack", "said"),
    [("positions", "the tower of pictures has no positions"), ("names", "cannot be told")],
)
def test_a_tower_without_positions_or_names_is_named(
    lack: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lack == "names":
        monkeypatch.setattr("harness.models.dual_encoder.VISUAL", re.compile("^$"))
    else:
        features = CLIPModel.get_image_features

        def convolved(self: CLIPModel, **inputs: Any) -> Any:
            out = features(self, **inputs)
            out.last_hidden_state = out.last_hidden_state[..., None]
            return out

        monkeypatch.setattr(CLIPModel, "get_image_features", convolved)
    cost = trained(tiny_clip(tmp_path / "clip", WORDS), tmp_path / "fit").cost
    assert cost is not None
    assert cost.train_flops == 0 and cost.train_tokens > 0
    assert said in cost.uncounted
