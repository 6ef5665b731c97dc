"""A CLIP and a SigLIP of a few thousand random weights in plain Hugging Face folders."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

# CLIP's text model pools in an old way where end-of-sequence is 2: it must be another.
SPECIALS = ["<pad>", "<s>", "<unk>", "</s>"]
SIDE, LENGTH, WIDTH = 32, 16, 8


def tiny_clip(folder: Path, words: str, seed: int = 1, siglip: bool = False) -> Path:
    """Write a random model with its processor: one token per known word, 16 tokens at most.

    Read it back with `AutoModel` and `AutoProcessor`. Vectors have 8 numbers, SigLIP's 16.
    """
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys([*SPECIALS, *words.lower().split()]))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(w, vocabulary[w]) for w in ("<s>", "</s>")]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        unk_token="<unk>",
        eos_token="</s>",
        model_max_length=LENGTH,
        model_input_names=["input_ids"] if siglip else ["input_ids", "attention_mask"],
    )
    small: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    text = {
        **small,
        "max_position_embeddings": LENGTH,
        "vocab_size": len(vocabulary),
        "eos_token_id": vocabulary["</s>"],
        "bos_token_id": vocabulary["<s>"],
        "pad_token_id": vocabulary["<pad>"],
    }
    vision = {**small, "image_size": SIDE, "patch_size": 16}
    torch.manual_seed(seed)
    if siglip:
        text["projection_size"] = 16
        model: Any = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    else:
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))
    model.save_pretrained(folder)
    pictures = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
