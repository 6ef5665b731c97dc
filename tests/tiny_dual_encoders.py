"""Dual encoders of other kinds than CLIP, of a few thousand random weights, in plain folders.

Their tokenizers are of the real classes, made on the spot for some words.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tiny_clip import LENGTH, SIDE, WIDTH, tiny_clip
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    AltCLIPProcessor,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
    CLIPImageProcessor,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Processor,
    Siglip2Tokenizer,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTImageProcessor,
    XLMRobertaTokenizer,
)

SMALL: Mapping[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
}
VISION: Mapping[str, Any] = {**SMALL, "image_size": SIDE, "patch_size": 16}
PATCHES = 256
"""Of a picture for SigLIP 2, as its processor says: pictures keep their shape."""


def tiny_vision_text(folder: Path, words: str, roberta: bool = False) -> Path:
    """A VisionTextDualEncoder of a ViT and a BERT, or a RoBERTa."""
    tokenizer = _sentencepieces(words) if roberta else _wordpieces(words)
    offset = {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1} if roberta else {}
    text = {**_text(tokenizer), "model_type": "roberta" if roberta else "bert", **offset}
    config = VisionTextDualEncoderConfig(
        text_config=text,
        vision_config={**VISION, "model_type": "vit"},
        projection_dim=WIDTH,
    )
    processor = VisionTextDualEncoderProcessor(
        ViTImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer
    )
    return _written(folder, VisionTextDualEncoderModel, config, processor)


def tiny_chinese_clip(folder: Path, words: str) -> Path:
    """A Chinese-CLIP: a BERT without a pooler reads texts."""
    tokenizer = _wordpieces(words)
    config = ChineseCLIPConfig(
        text_config=_text(tokenizer), vision_config=VISION, projection_dim=WIDTH
    )
    pictures = ChineseCLIPImageProcessor(
        size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return _written(folder, ChineseCLIPModel, config, ChineseCLIPProcessor(pictures, tokenizer))


def tiny_altclip(folder: Path, words: str) -> Path:
    """An AltCLIP: an XLM-RoBERTa, whose positions begin behind the padding token's number."""
    tokenizer = _sentencepieces(words)
    text = {**_text(tokenizer), "max_position_embeddings": LENGTH + 2, "project_dim": WIDTH}
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)
    pictures = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return _written(folder, AltCLIPModel, config, AltCLIPProcessor(pictures, tokenizer))


def tiny_siglip2(folder: Path, words: str) -> Path:
    """A SigLIP 2 of any resolution (NaFlex): patches of pictures that keep their shape."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *sorted({*words.lower()} - {" "})]
    tokenizer = Siglip2Tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        padding_side="right",
        model_max_length=64,
        model_input_names=["input_ids"],
    )
    text = {**_text(tokenizer), "max_position_embeddings": 64, "projection_size": 16}
    vision = {**SMALL, "patch_size": 16, "num_patches": 16}
    config = Siglip2Config(text_config=text, vision_config=vision)
    pictures = Siglip2ImageProcessor(patch_size=16, max_num_patches=PATCHES)
    return _written(folder, Siglip2Model, config, Siglip2Processor(pictures, tokenizer))


KINDS: Mapping[str, Callable[[Path, str], Path]] = {
    "clip": tiny_clip,
    "siglip": lambda folder, words: tiny_clip(folder, words, siglip=True),
    "siglip2": tiny_siglip2,
    "vit-bert": tiny_vision_text,
    "vit-roberta": lambda folder, words: tiny_vision_text(folder, words, roberta=True),
    "chinese-clip": tiny_chinese_clip,
    "altclip": tiny_altclip,
}


def _wordpieces(words: str) -> BertTokenizer:
    """A token for each word."""
    names = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.lower().split()])
    return BertTokenizer(
        vocab={name: number for number, name in enumerate(names)}, model_max_length=LENGTH
    )


def _sentencepieces(words: str) -> XLMRobertaTokenizer:
    """A token for each word; the padding token is number 1."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    names = [*specials, *(f"▁{word}" for word in dict.fromkeys(words.split())), "<mask>"]
    return XLMRobertaTokenizer(vocab=[(name, -1.0) for name in names])


def _text(tokenizer: Any) -> dict[str, Any]:
    """A small text config that fits a tokenizer."""
    return {
        **SMALL,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _written(folder: Path, kind: Any, config: Any, processor: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind(config)
        for name, weight in model.named_parameters():
            if name != "logit_scale" and weight.ndim > 1:
                weight.data.normal_(std=0.3)  # else all texts are alike
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
