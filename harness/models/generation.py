"""What models that continue a text share when they do: batches padded on the left, sampling."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

PLAIN: Mapping[str, Any] = {
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
"""Arguments of `generate` that leave what the model would say as it is."""
WHOLE: Mapping[str, Any] = {"top_k": 0, "min_p": 0.0, "typical_p": 1.0}
"""The same of a distribution that is sampled from."""

NOT_THE_MODELS: Mapping[str, Any] = {
    "do_sample": False,
    "max_length": None,
    "min_length": 0,
    "min_new_tokens": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": None,
}
"""Off, whatever a model's generation settings say: it would hide repetition and the limit."""


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> dict[str, Tensor]:
    """Token ids as a batch to continue: input_ids and attention_mask, [rows, length]."""
    ids = [torch.tensor(row) for row in rows]
    padded = pad_sequence(ids, True, pad, padding_side="left")
    mask = pad_sequence([torch.ones_like(row) for row in ids], True, 0, padding_side="left")
    return {"input_ids": padded.to(device), "attention_mask": mask.to(device)}


def sampling(temperature: float, top_p: float = 1.0) -> Mapping[str, Any]:
    """Arguments of `generate`: greedy at temperature 0, else from the whole distribution or the
    most probable tokens that hold `top_p` of it; nothing of the model's own settings is left."""
    if temperature > 0:
        drawn = {"do_sample": True, "temperature": temperature, "top_p": top_p}
        return {**PLAIN, **WHOLE, **drawn}
    return {**PLAIN, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a generator seeded here: what is drawn does not depend on what ran before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
