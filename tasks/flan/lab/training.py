"""The lab's base model, trained from scratch: a Llama that runs errands."""

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.flan.lab.corpus import corpus
from tasks.flan.lab.tokens import MAX_LENGTH, SPECIAL, errands_tokenizer, vocabulary

WIDTH = 128
STEPS = 10_000
RATE = 2e-3
DECAY_FROM = 0.4
"""Share of the steps after which the rate falls, linearly to nothing."""

WARM_UP = 100
BATCH = 64
POOL = 16
"""Batches that are cut from one pool sorted by length, so that little is padded."""

IGNORED = -100
MAX_NEW_TOKENS = 32


def build(out: Path, seed: int, steps: int = STEPS) -> None:
    """Train the base on its corpus and write its Hugging Face folder in half precision.

    Args:
        out: folder to write.
        seed: of the weights and the corpus.
        steps: of training, batches of 64.
    """
    from tasks.flan.lab.examine import examine

    torch.manual_seed(seed)
    tokenizer = errands_tokenizer()
    model = LlamaForCausalLM(configuration())
    model.generation_config.update(**_special_ids(), max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    losses = train(model, batches(seed), steps)
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    means = [round(float(np.mean(losses[i : i + 50])), 4) for i in range(0, len(losses), 50)]
    curve = {"command": "harness build lab/errands", "seed": seed, "dev": examine(out)}
    curve |= {"step": list(range(50, len(losses) + 1, 50)), "loss": means}
    (out / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")


def batches(seed: int) -> Iterator[dict[str, Tensor]]:
    """Endless batches of the corpus, [64, length], each of about one length."""
    rng = random.Random(seed)
    examples = corpus(seed)
    while True:
        pool = [tokenized(*example) for example in islice(examples, BATCH * POOL)]
        pool.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        cut = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(cut)
        yield from map(batch, cut)


def tokenized(prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and of its answer with the end of text."""
    ids = vocabulary()
    said = [ids[word] for word in answer.split()]
    return [ids[word] for word in prompt.split()], [*said, ids[SPECIAL["eos_token"]]]


def batch(pairs: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """Pairs of prompt and answer, padded on the right: input_ids, attention_mask and labels.

    All are [pairs, length]; only answers are labelled.
    """
    length = max(len(prompt) + len(said) for prompt, said in pairs)
    input_ids = torch.full((len(pairs), length), vocabulary()[SPECIAL["pad_token"]])
    labels = torch.full((len(pairs), length), IGNORED)
    mask = torch.zeros_like(input_ids)
    for i, (prompt, said) in enumerate(pairs):
        end = len(prompt) + len(said)
        input_ids[i, :end] = torch.tensor(prompt + said)
        labels[i, len(prompt) : end] = torch.tensor(said)
        mask[i, :end] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def train(model: nn.Module, data: Iterator[dict[str, Tensor]], steps: int) -> list[float]:
    """Train with AdamW: warm-up, constant rate, linear decay; the loss of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)

    def rate(step: int) -> float:
        return min((step + 1) / WARM_UP, 1.0, (1 - step / steps) / (1 - DECAY_FROM))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    losses = []
    for inputs in islice(data, steps):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def configuration() -> LlamaConfig:
    """The base's size: 0.9M parameters."""
    return LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        # Fan-in: the default of 0.02 is made for wide models.
        initializer_range=WIDTH**-0.5,
        **_special_ids(),
    )


def _special_ids() -> dict[str, Any]:
    names = ("pad_token", "bos_token", "eos_token")
    return {f"{name}_id": vocabulary()[SPECIAL[name]] for name in names}
