"""open_clip's checkpoints as transformers' CLIP: its files are read, its package is not needed.

A folder holds `open_clip_config.json` and `open_clip_model.safetensors` (or
`open_clip_pytorch_model.bin`) with the files of a tokenizer. What transformers' CLIP has no place
for is refused by the name of its field.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from harness.errors import HarnessError
from harness.models.checking import check_finite
from harness.models.loading import OPEN_CLIP, open_clip_weights
from harness.models.pretrained import read_tokenizer
from harness.reading import read_text

SHAPE = {"width", "layers", "mlp_ratio"}
KNOWN = {
    "model_cfg": {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"},
    "vision_cfg": {*SHAPE, "head_width", "patch_size", "image_size"},
    "text_cfg": {*SHAPE, "heads", "context_length", "vocab_size", "eos_id"},
    "preprocess_cfg": {"size", "mean", "std", "interpolation", "resize_mode"},
}
"""Fields that are read."""
HARMLESS = {
    "nonscalar_logit_scale",  # the scale is one number either way
    "output_tokens",
    "patch_dropout",  # in training alone
    "pad_id",  # what follows the end is not seen by what comes before it
    "hf_tokenizer_name",  # the folder's own is taken
    "attn_pooler_queries",  # details of parts that other fields ask for
    "attn_pooler_heads",
    "timm_pool",
    "timm_proj",
    "hf_proj_type",
    "hf_pooler_type",
    "hf_model_pretrained",
    "fill_color",
}
"""Fields that change nothing here."""
ONLY = {
    "pos_embed_type": {"learnable"},
    "block_type": {"default"},
    "proj_type": {"linear"},
    "mode": {"RGB"},
}
"""Fields that may say this alone, or nothing."""
POOLS = {"vision_cfg": {"tok"}, "text_cfg": {"argmax", "eos"}}
RESAMPLING = {"bicubic": PILImageResampling.BICUBIC, "bilinear": PILImageResampling.BILINEAR}
NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding": "text_model.embeddings.token_embedding",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "transformer.resblocks": "text_model.encoder.layers",
    "logit_scale": "logit_scale",
}
"""Beginnings of names, open_clip's -> transformers'."""
INNER = {
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
"""The same within a block."""


def read(folder: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """The model, fp32 on the CPU, and its processor.

    Raises:
        HarnessError: a file is missing or damaged, or CLIP of transformers cannot say the same.
    """
    config, processor = _described(folder)
    module = CLIPModel(config)
    _load(module, open_clip_weights(folder))
    check_finite(module, folder)
    return module, processor


def skeleton(folder: Path) -> CLIPModel:
    """The model with weights at random, for its shapes."""
    return CLIPModel(_described(folder)[0])


def _described(folder: Path) -> tuple[CLIPConfig, CLIPProcessor]:
    """The model's config and its processor."""
    place = folder / OPEN_CLIP
    try:
        written = json.loads(read_text(place))
        model, pictures = written["model_cfg"], written.get("preprocess_cfg", {})
        vision, text = model["vision_cfg"], model["text_cfg"]
        _check(place, model_cfg=model, vision_cfg=vision, text_cfg=text, preprocess_cfg=pictures)
        tokenizer = _tokenizer(folder)
        config = _config(place, model, tokenizer)
        processor = CLIPProcessor(_image_processor(place, pictures, vision), tokenizer)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise HarnessError(f"{place}: no config of open_clip ({reason}).") from None
    config.name_or_path = str(folder)  # an adapter notes it as its base
    return config, processor


def _check(place: Path, **sections: Mapping[str, Any]) -> None:
    """Refuse what has no counterpart."""
    for section, fields in sections.items():
        for name, value in fields.items():
            allowed = POOLS.get(section, set()) if name == "pool_type" else ONLY.get(name, set())
            if name in KNOWN[section] | HARMLESS or not value or value in list(allowed):
                continue
            raise _refused(place, f"{section}.{name}", value)
    for section in ("vision_cfg", "text_cfg"):
        if not isinstance(sections[section].get("layers", 12), int):
            raise _refused(place, f"{section}.layers", "a ResNet's")


def _refused(place: Path, field: str, value: Any) -> HarnessError:
    return HarnessError(
        f"{place}: {field} is {str(value)[:80]}, which transformers' CLIP has no counterpart of: "
        "give a ViT checkpoint of CLIP's own kind, or the model in transformers' format."
    )


def _config(place: Path, model: Mapping[str, Any], tokenizer: Any) -> CLIPConfig:
    vision, text = model["vision_cfg"], model["text_cfg"]
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    words = text.get("vocab_size", 49408)
    end = text.get("eos_id", 2) if text.get("pool_type") == "eos" else words - 1  # the largest
    if end != tokenizer.eos_token_id or end == 2 != words - 1:  # transformers takes 2 otherwise
        raise HarnessError(
            f"{place}: texts end with token {end} there, with {tokenizer.eos_token_id} by the "
            "tokenizer beside it: put the tokenizer there that the model was trained with."
        )
    width = vision.get("width", 768)
    return CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config={
            **_tower(width, vision, activation),
            "num_attention_heads": width // vision.get("head_width", 64),
            "patch_size": _side(place, "vision_cfg.patch_size", vision.get("patch_size", 16)),
            "image_size": _side(place, "vision_cfg.image_size", vision.get("image_size", 224)),
        },
        text_config={
            **_tower(text.get("width", 512), text, activation),
            "num_attention_heads": text.get("heads", 8),
            "max_position_embeddings": text.get("context_length", 77),
            "vocab_size": words,
            "eos_token_id": end,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )


def _tower(width: int, fields: Mapping[str, Any], activation: str) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": int(width * fields.get("mlp_ratio", 4.0)),
        "num_hidden_layers": fields.get("layers", 12),
        "hidden_act": activation,
    }


def _side(place: Path, field: str, size: Any) -> int:
    """The side of a square that is written as a number or as two."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise _refused(place, field, size)
    return int(sides.pop())


def _image_processor(
    place: Path, fields: Mapping[str, Any], vision: Mapping[str, Any]
) -> CLIPImageProcessor:
    whole = vision.get("image_size", 224)
    side = _side(place, "preprocess_cfg.size", fields.get("size", whole))
    square = {"height": side, "width": side}
    how = fields.get("resize_mode", "shortest")
    resampling = fields.get("interpolation", "bicubic")
    if how not in ("shortest", "squash"):
        raise _refused(place, "preprocess_cfg.resize_mode", how)
    if resampling not in RESAMPLING:
        raise _refused(place, "preprocess_cfg.interpolation", resampling)
    return CLIPImageProcessor(
        size={"shortest_edge": side} if how == "shortest" else square,
        crop_size=square,
        do_center_crop=how == "shortest",
        resample=RESAMPLING[resampling],
        image_mean=fields.get("mean", OPENAI_CLIP_MEAN),
        image_std=fields.get("std", OPENAI_CLIP_STD),
    )


def _tokenizer(folder: Path) -> Any:
    files = ("tokenizer.json",), ("vocab.json", "merges.txt")
    if not any(all((folder / name).exists() for name in some) for some in files):
        raise HarnessError(
            f"{folder}: no tokenizer: put tokenizer.json there, or vocab.json and merges.txt "
            "(CLIP's own are in any CLIP folder of transformers)."
        )
    named = (folder / "tokenizer_config.json").exists()
    return read_tokenizer(folder, AutoTokenizer if named else CLIPTokenizer)


def _load(module: CLIPModel, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        renamed = {new: value for old in weights for new, value in _renamed(old, weights[old])}
        module.load_state_dict(renamed)
    except Exception as error:  # what a damaged pickle raises is of any kind
        reason = " ".join(str(error).split())[:200]
        raise HarnessError(
            f"{path}: not the weights that {OPEN_CLIP} describes: {reason}"
        ) from None


def _renamed(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One weight of open_clip's as those of transformers'."""
    if name == "attn_mask":
        return
    start = max((each for each in NAMES if name.startswith(each)), key=len, default=None)
    if start is None:
        raise ValueError(f"no place for '{name}'")
    new = NAMES[start] + name.removeprefix(start)
    for old, ours in INNER.items():
        new = new.replace(old, ours)
    if ".attn.in_proj_" in new:
        parts = zip("qkv", value.chunk(3), strict=True)
        yield from ((new.replace(".attn.in_proj_", f".self_attn.{p}_proj."), v) for p, v in parts)
    elif name in ("visual.proj", "text_projection"):
        yield new, value.T
    else:
        yield new, value.reshape(()) if name == "logit_scale" else value
