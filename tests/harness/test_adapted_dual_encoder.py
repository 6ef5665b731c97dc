"""LoRA on a dual encoder, and what a training of two towers counts as."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_dual_encoder import TEXTS, WORDS, pictures
from tiny_clip import SIDE, tiny_clip
from torch import Tensor, nn

from harness import throughput
from harness.contrastive import contrastive_loss
from harness.models import adapters, loading
from harness.models.dual_encoder import DualEncoder
from harness.settings import TrainSettings
from harness.training import Fit

ROWS, EPOCHS = 4, 3
LORA = {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}
SETTINGS = {"lr": 1e-2, "epochs": EPOCHS, "batch_size": ROWS, "micro_batch": ROWS}


def trained(base: Path, folder: Path, **settings: Any) -> Fit:
    """Train on four pictures with a title each; all batches are the same rows."""
    model = DualEncoder.load(base)
    pixels = model.pixels(pictures(ROWS))["pixel_values"]
    tokens = model.tokens(TEXTS)

    def collate(rows: Sequence[int]) -> Mapping[str, Tensor]:
        return {"pixel_values": pixels[rows], **{k: v[rows] for k, v in tokens.items()}}

    def loss(module: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        out = module(**batch)
        return contrastive_loss(out.image_embeds, out.text_embeds, model.scale), {}

    fit = throughput.synthetic_fit(model, folder, seed=0)
    chosen = TrainSettings.model_validate({**SETTINGS, "precision": "fp32", **settings})
    fit.train(list(range(ROWS)), collate, loss, chosen)
    return fit


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("model"), WORDS)


def test_a_saved_adapter_gives_what_the_trained_model_gave(base: Path, tmp_path: Path) -> None:
    fit = trained(base, tmp_path / "fit", lora=LORA)
    images, texts = fit.model.encode_images(pictures(5)), fit.model.encode_texts(TEXTS)
    fit.model.save(tmp_path / "adapter")
    assert loading.is_adapter(tmp_path / "adapter")
    assert adapters.kind(tmp_path / "adapter").settings(tmp_path / "adapter")
    again = loading.load(tmp_path / "adapter", "dual-encoder")
    torch.testing.assert_close(again.encode_images(pictures(5)), images)
    torch.testing.assert_close(again.encode_texts(TEXTS), texts)
    before = DualEncoder.load(base)
    assert not torch.allclose(before.encode_images(pictures(5)), images, atol=1e-3)
    assert not torch.allclose(before.encode_texts(TEXTS), texts, atol=1e-3)
    loading.merge(tmp_path / "adapter", "dual-encoder", tmp_path / "whole")
    whole = loading.load(tmp_path / "whole", "dual-encoder")
    torch.testing.assert_close(whole.encode_images(pictures(5)), images)


def test_each_tower_counts_what_it_reads(base: Path, tmp_path: Path) -> None:
    fit = trained(base, tmp_path)
    text = EPOCHS * int(fit.model.tokens(TEXTS)["attention_mask"].sum())
    patches = EPOCHS * ROWS * ((SIDE // 16) ** 2 + 1)
    module = fit.model.module
    towers = (module.vision_model, module.visual_projection), (module.text_model,)
    seen, said = (sum(p.numel() for t in tower for p in t.parameters()) for tower in towers)
    said += module.text_projection.weight.numel() + 1  # the scale
    assert fit.cost is not None
    assert fit.cost.train_tokens == text + patches
    assert fit.cost.train_flops == 6 * (patches * seen + text * said)


def test_an_adapters_frozen_weights_cost_less(base: Path, tmp_path: Path) -> None:
    whole, adapted = (
        trained(base, tmp_path / "a").cost,
        trained(base, tmp_path / "b", lora=LORA).cost,
    )
    assert whole is not None and adapted is not None
    assert adapted.train_tokens == whole.train_tokens
    assert 0.6 < adapted.train_flops / whole.train_flops < 0.9
