"""What a plan says of memory, against what a training allocates."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from half import halve, pretend_bf16
from test_open_clip import checkpoint
from test_precision import BF16, DATA, ROLES, make_fit
from tiny_clip import tiny_clip
from tiny_llava import tiny_llava
from tiny_translators import tiny_llama, tiny_word_marian
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    M2M100Config,
    TrainerCallback,
)

from harness import memory, registry
from harness.arms import make_arm
from harness.models import loading
from harness.run_config import RunConfig
from harness.settings import Lora, TrainSettings
from harness.training import make_trainer, prepare

WORDS = "a red blue shirt dress with long sleeves of </s>"


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_bf16(monkeypatch)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    tiny_clip(place / "dual-encoder", "a red shirt")
    tiny_llava(place / "vision-language")
    tiny_llama(place / "causal-lm")
    tiny_word_marian(place / "translator")
    return {role: halve(place / role) for role in ROLES}


class Counted(TrainerCallback):
    """Bytes of gradients and of the optimizer's state at a training's last step."""

    gradients = optimizer = 0

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        self.gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)

    def on_step_end(self, *_: Any, optimizer: Any = None, **__: Any) -> None:
        states = optimizer.state.values()
        self.optimizer = sum(value.nbytes for state in states for value in state.values())


WRITTEN = ("model.safetensors", "adapter_model.safetensors", "optimizer.pt")


@pytest.mark.parametrize(
    ("role", "changed"),
    [
        ("dual-encoder", {}),
        ("vision-language", {"freeze": ["vision_tower", "multi_modal_projector"]}),
        ("causal-lm", {"lora": Lora(r=4, alpha=4)}),
    ],
    ids=["all", "frozen part", "lora"],
)
def test_weights_gradients_and_optimizer_take_what_is_counted(
    role: str, changed: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = TrainSettings(**BF16, save_steps=1, **changed)
    empty = SimpleNamespace(module=memory.skeleton(folders[role], role, torch.bfloat16))
    with torch.device("meta"):
        prepare(empty, settings)
    found = memory.training_memory(empty.module.parameters(), True, settings.lora is None)
    fit = make_fit(role, folders[role], tmp_path)
    rows, batch, loss = DATA[role]
    prepare(fit.model, settings)
    counted = Counted()
    make_trainer(fit, rows, batch, loss, settings, [counted]).train()
    held = sum(weight.nbytes for weight in fit.model.module.parameters())
    assert found.frozen + found.trained == held
    assert (found.gradients, found.optimizer) == (counted.gradients, counted.optimizer)
    files = [tmp_path / "steps/checkpoint-3" / name for name in WRITTEN]
    saved = sum(path.stat().st_size for path in files if path.exists())
    assert found.saved < saved < found.saved + 64 * 2**10, "names and shapes come on top"


@pytest.mark.parametrize("role", [*ROLES, "open_clip"])
def test_a_skeleton_has_the_shapes_and_precision_of_the_model(
    role: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    if role == "open_clip":
        role = "dual-encoder"
        checkpoint(tmp_path)
        folder = tmp_path / "checkpoint"
    else:
        folder = folders[role]
    loaded = loading.load(folder, role, torch.bfloat16).module
    empty = memory.skeleton(folder, role, torch.bfloat16)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    shapes = [
        {name: (p.shape, p.dtype) for name, p in module.named_parameters()}
        for module in (loaded, empty)
    ]
    assert shapes[0] == shapes[1]


LLAMA_7B = LlamaConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_hidden_layers=32,
    num_attention_heads=32,
)
SHAPES: dict[str, Any] = {
    "causal-lm": LLAMA_7B,
    "vision-language": LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            projection_dim=768,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig.from_dict({**LLAMA_7B.to_dict(), "vocab_size": 32_064}),
    ),
    "dual-encoder": CLIPConfig(text_config=CLIPTextConfig(), vision_config=CLIPVisionConfig()),
    "translator": M2M100Config(
        vocab_size=256_206,
        d_model=1024,
        encoder_layers=12,
        decoder_layers=12,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
    ),
}
"""Llama-2-7B, LLaVA-1.5-7B, CLIP ViT-B/32 and NLLB-200-600M, by their configs."""
FULL = {"train.lora": None}


@pytest.mark.parametrize(
    ("name", "changed", "gib", "least"),
    [
        ("clip", {}, 2.5, 24),
        ("ctsd", {}, 10.3, 24),
        ("modula", {}, 12.8, 24),
        ("poir", {}, 13.2, 24),
        ("bpo", {}, 13.2, 24),
        ("poir", FULL, 113.0, 141),
        ("aspo", {}, 56.0, 80),
    ],
)
def test_the_papers_presets_fit_the_cards_that_the_method_cards_name(
    name: str, changed: dict[str, Any], gib: float, least: int, tmp_path: Path
) -> None:
    cls = registry.load("methods", name)
    asked = RunConfig(method=[name], tasks=["any"], profile="paper")
    SHAPES[cls.role].save_pretrained(tmp_path)
    found = memory.of_arm(make_arm(name, cls, asked, str(tmp_path), changed))
    taken = max(each.alone for each in found.values())
    assert taken / memory.GIB == pytest.approx(gib, abs=0.1)
    assert min(card for card in memory.CARDS if card * memory.GIB > taken) == least


def test_a_card_that_is_too_small_is_named() -> None:
    weights = [torch.nn.Parameter(torch.empty(2**30, 2, device="meta"))]
    found = memory.training_memory(weights, casts=True, whole=True)
    first, second, third = memory.describe(found, TrainSettings())
    assert first == (
        "a card needs 36.0 GiB = trained weights 8.0 GiB fp32 + gradients 8.0 GiB fp32 + AdamW "
        "16.0 GiB fp32 + copies for products 4.0 GiB bf16; with several cards 8.0 GiB fp32 more "
        "for DDP's buckets"
    )
    assert "24 GB does not fit, 40 GB leaves 4.0 GiB (several do not fit), 80 GB leaves" in second
    assert third.startswith("a saved step takes 24.0 GiB of disk")
