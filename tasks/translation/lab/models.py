"""The lab's base models, trained from scratch: Marians that have read little or more."""

import random
from pathlib import Path

import torch
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerBase

from tasks.translation.lab.examine import examine
from tasks.translation.lab.tokens import MAX_LENGTH, title_tokenizer
from tasks.translation.lab.training import Corpus, optimize, write_curve

WIDTH = 128
STEPS = {"young": 400, "mature": 800}
"""Of training; the fewer, the more a model oscillates."""

RATE = 2e-3
CORPUS = 12_000
"""Titles of each spacing in what a base model reads: at 800 steps, about all of them once."""

MAX_NEW_TOKENS = 96


def build_translator(out: Path, seed: int, age: str) -> None:
    """Train a translator on titles of both spacings and write its Hugging Face folder.

    Args:
        out: folder to write.
        seed: of the weights, the corpus and its order.
        age: how long it trains, a key of `STEPS`.
    """
    torch.manual_seed(seed)
    tokenizer = title_tokenizer()
    model = MarianMTModel(_config(tokenizer))
    model.generation_config.update(
        max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False, bad_words_ids=None
    )
    # Another seed than that of the rows: the train split is left to the methods.
    batches = Corpus(tokenizer, CORPUS, seed + 100).batches(random.Random(seed))
    losses = optimize(model, lambda: model(**next(batches)).loss, STEPS[age], RATE)
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    command = f"harness build lab/titles-{age}"
    write_curve(out, losses, command=command, seed=seed, dev=examine(out))


def _config(tokenizer: PreTrainedTokenizerBase) -> MarianConfig:
    # Marian's own ids are those of a vocabulary of 58,101 tokens.
    return MarianConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        max_position_embeddings=MAX_LENGTH,
        init_std=WIDTH**-0.5,
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )
