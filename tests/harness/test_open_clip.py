"""open_clip's checkpoints against open_clip's equations in plain torch, on random weights."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_dual_encoder import pictures
from tiny_clip import tiny_clip
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer

from harness.errors import HarnessError
from harness.models import loading
from harness.settings import Lora
from harness.training import adapt

WORDS = "a red blue shirt dress with long sleeves of </s>"
TEXTS = ["a red shirt", "a blue dress with long sleeves", "shirt"]
SIDE, PATCH, WIDTH, HEAD, TEXT_WIDTH, TEXT_HEADS, EMBED, LENGTH = 32, 16, 24, 8, 16, 4, 12, 9
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = {"c_fc": nn.Linear(width, 4 * width), "gelu": activation()}
        parts["c_proj"] = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        read = self.ln_1(x)
        x = x + self.attn(read, read, read, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Blocks(WIDTH, 3, WIDTH // HEAD, activation)
        self.proj = nn.Parameter(torch.randn(WIDTH, EMBED))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).mT
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
        x = self.transformer(self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x)[:, 0] @ self.proj


class OpenClip(nn.Module):
    """The equations and names of open_clip's `CLIP` with a ViT."""

    def __init__(self, words: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.visual = Visual(activation)
        self.token_embedding = nn.Embedding(words, TEXT_WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, TEXT_WIDTH))
        self.transformer = Blocks(TEXT_WIDTH, 2, TEXT_HEADS, activation)
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, EMBED))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))

    def encode_text(self, text: Tensor) -> Tensor:
        """`text` is padded with 0 to the context's length."""
        mask = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(x)), text.argmax(-1)] @ self.text_projection


def checkpoint(folder: Path, quick: bool = True, pickled: bool = False) -> OpenClip:
    """Write a random model as open_clip does, with a tokenizer whose end is its largest token."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_clip(folder / "clip", WORDS))
    folder = folder / "checkpoint"
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = core["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary[last], vocabulary["</s>"] = vocabulary["</s>"], vocabulary[last]
    for token in core["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    core["post_processor"]["special_tokens"]["</s>"]["ids"] = [vocabulary["</s>"]]
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(core))
    torch.manual_seed(0)
    module = OpenClip(len(vocabulary), QuickGelu if quick else nn.GELU).eval()
    for parameter in module.parameters():  # norms and biases too: as if trained
        parameter.data += 0.1 * torch.randn(parameter.shape)
    text = {"context_length": LENGTH, "vocab_size": len(vocabulary), "width": TEXT_WIDTH}
    vision = {"image_size": SIDE, "patch_size": PATCH, "width": WIDTH, "head_width": HEAD}
    config = {
        "model_cfg": {
            "embed_dim": EMBED,
            "quick_gelu": quick,
            "vision_cfg": {**vision, "layers": 3},
            "text_cfg": {**text, "heads": TEXT_HEADS, "layers": 2},
        },
        "preprocess_cfg": {"size": SIDE, "mean": MEAN, "std": STD, "interpolation": "bicubic"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(module.state_dict(), folder / "open_clip_pytorch_model.bin")
    else:
        weights = {name: value.contiguous() for name, value in module.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint(tmp_path)
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("quick", [True, False], ids=["quick_gelu", "gelu"])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@torch.inference_mode()
def test_features_are_those_of_the_equations(quick: bool, pickled: bool, tmp_path: Path) -> None:
    theirs = checkpoint(tmp_path, quick, pickled)
    folder = loading.resolve(str(tmp_path / "checkpoint"))
    ours = loading.load(folder, "dual-encoder")
    pixels = torch.randn(4, 3, SIDE, SIDE)
    expected = functional.normalize(theirs.visual(pixels), dim=-1)
    torch.testing.assert_close(ours.image_features({"pixel_values": pixels}), expected)
    tokens = ours.tokens(TEXTS)["input_ids"]
    padded = functional.pad(tokens, (0, LENGTH - tokens.shape[1]))
    expected = functional.normalize(theirs.encode_text(padded), dim=-1)
    torch.testing.assert_close(ours.encode_texts(TEXTS), expected)
    torch.testing.assert_close(ours.scale, theirs.logit_scale.exp())
    assert loading.parameters(folder) == sum(each.numel() for each in theirs.parameters())


def test_pictures_are_prepared_as_the_config_says(folder: Path) -> None:
    model = loading.load(folder, "dual-encoder")
    (image,) = pictures(1)
    side = SIDE / min(image.size)
    small = image.resize([int(side * edge) for edge in image.size], resample=3)
    left = (small.size[0] - SIDE) // 2
    cut = torch.tensor(list(small.crop((left, 0, left + SIDE, SIDE)).tobytes()))
    values = cut.view(SIDE, SIDE, 3).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    torch.testing.assert_close(model.pixels([image])["pixel_values"][0], (values - mean) / std)


def test_a_checkpoint_is_saved_in_transformers_format(folder: Path, tmp_path: Path) -> None:
    model = loading.load(folder, "dual-encoder")
    model.save(tmp_path / "again")
    assert (tmp_path / "again" / "config.json").exists()
    again = loading.load(tmp_path / "again", "dual-encoder")
    assert torch.equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))
    torch.testing.assert_close(again.encode_images(pictures(2)), model.encode_images(pictures(2)))


def test_an_adapter_names_the_checkpoint_as_its_base(folder: Path, tmp_path: Path) -> None:
    model = loading.load(folder, "dual-encoder")
    model.module = adapt(model.module, Lora(r=2, targets=["q_proj"]))
    model.save(tmp_path / "adapter")
    assert loading.base_of(tmp_path / "adapter") == folder
    again = loading.load(tmp_path / "adapter", "dual-encoder")
    torch.testing.assert_close(again.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_the_config_is_part_of_what_a_model_is(folder: Path) -> None:
    before = loading.identity(folder)
    changed(folder, "model_cfg", quick_gelu=False)
    assert loading.identity(folder) != before


def changed(folder: Path, section: str, **fields: Any) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    part = config if section in config else config["model_cfg"]
    part[section].update(fields)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("section", "fields", "said"),
    [
        ("vision_cfg", {"timm_model_name": "vit_base"}, "vision_cfg.timm_model_name is vit_base"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "vision_cfg.layers is a ResNet's"),
        ("vision_cfg", {"pool_type": "avg"}, "vision_cfg.pool_type is avg"),
        ("vision_cfg", {"patch_size": [16, 8]}, "vision_cfg.patch_size is"),
        ("vision_cfg", {"no_ln_pre": True}, "vision_cfg.no_ln_pre is True"),
        ("text_cfg", {"pool_type": "last"}, "text_cfg.pool_type is last"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "text_cfg.hf_model_name is roberta-base"),
        ("text_cfg", {"no_causal_mask": True}, "text_cfg.no_causal_mask is True"),
        ("text_cfg", {"vocab_size": 40}, "texts end with token 39 there"),
        ("text_cfg", {"width": 8}, "not the weights that open_clip_config.json describes"),
        ("model_cfg", {"multimodal_cfg": {"width": 8}}, "model_cfg.multimodal_cfg is"),
        ("model_cfg", {"custom_text": True}, "model_cfg.custom_text is True"),
        ("model_cfg", {"init_logit_bias": -10}, "model_cfg.init_logit_bias is -10"),
        ("model_cfg", {"vision_cfg": 3}, "no config of open_clip"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "preprocess_cfg.resize_mode is longest"),
    ],
)
def test_what_clip_cannot_be_is_refused_by_name(
    section: str, fields: dict[str, Any], said: str, folder: Path
) -> None:
    changed(folder, section, **fields)
    with pytest.raises(HarnessError) as error:
        loading.load(folder, "dual-encoder")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_missing_and_damaged_files_are_one_line(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    with pytest.raises(HarnessError, match="not the weights"):
        loading.load(folder, "dual-encoder")
    weights.unlink()
    with pytest.raises(HarnessError, match=r"no weights: put open_clip_model.safetensors or"):
        loading.load(folder, "dual-encoder")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"nothing")
    with pytest.raises(HarnessError, match="not the weights"):
        loading.load(folder, "dual-encoder")
    with pytest.raises(HarnessError, match="damaged"):
        loading.parameters(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(HarnessError, match=r"no tokenizer: put tokenizer.json"):
        loading.load(folder, "dual-encoder")
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(HarnessError, match="no config of open_clip"):
        loading.load(folder, "dual-encoder")
