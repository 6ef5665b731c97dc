"""LLaVA models of random weights and pairs of random tokens, to measure how fast ASPO trains."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
)

from harness.models.pictures import Picture
from harness.models.prompts import VisionPrompt
from harness.models.vision_language import Encoded, VisionLanguage
from methods.aspo.data import Pair

SENTENCE = 20
"""Words of a sentence, one token each."""
PAD, BEGIN, END = range(3)


@dataclass(frozen=True)
class Size:
    """A model, the length of its prompts and answers, and what its training starts from."""

    config: LlavaConfig
    prompt_tokens: int
    """Text of a prompt; the picture's tokens come on top."""
    answer_tokens: tuple[int, int]
    """Fewest and most tokens of an answer, end of sequence included."""
    rank: int
    lr: float

    @property
    def text(self) -> Any:
        """Config of the language model."""
        return self.config.text_config

    @property
    def vision(self) -> Any:
        """Config of the vision tower."""
        return self.config.vision_config

    @property
    def image_tokens(self) -> int:
        return int((self.vision.image_size // self.vision.patch_size) ** 2)


SIZES = {
    "7b": Size(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                image_size=336,
                patch_size=14,
                projection_dim=768,
            ),
            text_config=LlamaConfig(
                vocab_size=32_064,
                hidden_size=4096,
                intermediate_size=11_008,
                num_hidden_layers=32,
                num_attention_heads=32,
                max_position_embeddings=4096,
                rms_norm_eps=1e-5,
            ),
            image_token_index=32_000,
        ),
        prompt_tokens=32,
        answer_tokens=(100, 150),
        rank=1024,
        lr=2e-5,
    ),
    "tiny": Size(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            ),
            text_config=LlamaConfig(
                vocab_size=256,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=128,
            ),
            image_token_index=255,
        ),
        prompt_tokens=6,
        answer_tokens=(30, 50),
        rank=8,
        lr=2e-2,
    ),
}


class SyntheticModel(VisionLanguage):
    """A LLaVA of random weights without tokenizer and pictures: word `w12` is token 12."""

    def __init__(self, size: Size, device: torch.device, dtype: torch.dtype) -> None:
        self.size = size
        self.module = random_module(size.config, device, dtype)
        self.tokenizer = SimpleNamespace(pad_token_id=PAD)

    def _pictures(self, images: Sequence[Picture]) -> list[tuple[dict[str, Tensor], int]]:
        """Noise from each picture's number, [1, 3, height, width], and its image tokens."""
        side = self.size.vision.image_size
        found = []
        for image in images:
            generator = torch.Generator().manual_seed(int(str(image)))
            pixels = torch.randn(1, 3, side, side, generator=generator)
            found.append(({"pixel_values": pixels}, self.size.image_tokens))
        return found

    def encode_whole(self, prompt: VisionPrompt, answer: str) -> Encoded:
        image = [self.size.config.image_token_index] * self.size.image_tokens
        prompt_ids = [BEGIN, *image, *_ids(prompt.text)]
        spans = [match.span() for match in re.finditer(r"\S+", answer)]
        ids = [*prompt_ids, *_ids(answer), END]
        return Encoded(torch.tensor(ids), len(prompt_ids), [*spans, (len(answer), len(answer))])


def random_module(config: LlavaConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """A LLaVA whose weights are made where they stay and as what they stay: a detour over fp32 or
    the CPU would need twice the memory or minutes."""
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def random_pairs(count: int, size: Size, seed: int) -> list[Pair]:
    """Pairs of answers of random words, `SENTENCE` words to a line."""
    generator = torch.Generator().manual_seed(seed)
    words = size.config.image_token_index

    def draw(low: int, high: int, length: int) -> list[int]:
        drawn: list[int] = torch.randint(low, high, (length,), generator=generator).tolist()
        return drawn

    def text(length: int) -> str:
        made = [f"w{word}" for word in draw(END + 1, words, length)]
        lines = (made[start : start + SENTENCE] for start in range(0, length, SENTENCE))
        return "\n".join(" ".join(line) for line in lines)

    def answer() -> str:
        fewest, most = size.answer_tokens
        return text(draw(fewest - 1, most, 1)[0])

    return [
        Pair(row, str(row), text(size.prompt_tokens), answer(), answer()) for row in range(count)
    ]


def _ids(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]


class Flops(NamedTuple):
    """Floating-point operations, a multiplication and an addition being two.

    model: what the mathematics needs: forward and backward, each once.
    recomputed: the decoder's forward pass again, under gradient checkpointing.
    """

    model: float
    recomputed: float

    @property
    def hardware(self) -> float:
        return self.model + self.recomputed


def sequence_flops(size: Size, rank: int, tokens: int, answer_tokens: int) -> Flops:
    """Operations of one answer with its prompt and picture, LoRA on every layer of the decoder.

    With T tokens, A of them of the answer, N weights and R adapter weights in the decoder's
    matrices, L layers of width d, a vocabulary V, and P patches in a picture (with the class
    token P + 1 in the vision tower, its patch embedding E):

        forward   2 T (N + R) + 2 L d T^2                   causal attention: half of the products
        backward  T (2 N + 4 R) + 4 L d T^2                 the base's weights get no gradient
        head      4 A d V                                   answers alone; logits and derivative
        picture   2 (P + 1) N_v + 4 L_v d_v (P + 1)^2 + 2 P (E + N_proj)      forward only
        again     2 T (N + R) + 2 L d T^2                   recomputed, not in `model`

    Padding, norms, activations, softmax and the optimizer are left out.
    """
    text, vision = size.text, size.vision
    layers, width, inner = text.num_hidden_layers, text.hidden_size, text.intermediate_size
    weights = layers * (4 * width * width + 3 * width * inner)
    adapters = layers * rank * (4 * 2 * width + 3 * (width + inner))
    attention = 2 * layers * width * tokens**2
    forward = 2 * tokens * (weights + adapters) + attention
    backward = tokens * (2 * weights + 4 * adapters) + 2 * attention
    head = 4 * answer_tokens * width * text.vocab_size
    patches, seen = size.image_tokens, vision.hidden_size
    tower = vision.num_hidden_layers * (4 * seen * seen + 2 * seen * vision.intermediate_size)
    ends = 3 * vision.patch_size**2 * seen + seen * width + width * width
    picture = 2 * (patches + 1) * tower + 2 * patches * ends
    picture += 4 * vision.num_hidden_layers * seen * (patches + 1) ** 2
    return Flops(forward + backward + head + picture, forward)
