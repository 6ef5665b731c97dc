"""Pictures and texts as tensors, and the loop that trains the lab's base models."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPModel, PreTrainedTokenizerBase
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from tasks.multimodal.lab.corpus import Example
from tasks.multimodal.lab.tokens import IMAGE, IMAGE_TOKENS, PROMPT
from tasks.multimodal.lab.world import Scene, draw, scenes

IGNORED = -100


class Pictures:
    """Train scenes with their pictures, preprocessed once as CLIP's processor does.

    Attributes:
        scenes: the scenes, no two alike.
        pixels: their pictures, normalized, [scenes, 3, 32, 32].
    """

    def __init__(self, count: int, seed: int) -> None:
        self.scenes = list(islice(scenes("train", seed), count))
        raw = np.stack([np.asarray(draw(scene, seed)) for scene in self.scenes])
        mean, std = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
        pixels = (torch.from_numpy(raw).float() / 255 - mean) / std
        self.pixels = pixels.permute(0, 3, 1, 2).contiguous()

    def batch(self, size: int, rng: random.Random) -> tuple[list[Scene], Tensor]:
        """Scenes drawn at random and their pictures, [size, 3, 32, 32]."""
        chosen = rng.sample(range(len(self.scenes)), size)
        return [self.scenes[i] for i in chosen], self.pixels[chosen]


def noised(pixels: Tensor, step: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures after `step` steps of diffusion out of 1,000.

    Args:
        pixels: normalized pictures, [batch, 3, height, width].
        step: of each picture, [batch]; 0 leaves it as it is.
        generator: of the noise.

    Returns:
        Noised pictures, [batch, 3, height, width] (visual contrastive decoding, Leng et al. 2024,
        with its sigmoid schedule of beta).
    """
    beta = torch.linspace(-6, 6, 1000).sigmoid() * (0.5e-2 - 1e-5) + 1e-5
    kept = torch.cat([torch.ones(1), (1 - beta).cumprod(0)])[step][:, None, None, None]
    noise = torch.randn(pixels.shape, generator=generator)
    return kept.sqrt() * pixels + (1 - kept).sqrt() * noise


def fan_in(model: CLIPModel) -> None:
    """Draw CLIP's weights anew at 1 / sqrt(inputs); its own scales are made for wide models."""
    for name, weight in model.named_parameters():
        if "patch_embedding" in name or (weight.dim() == 2 and "embedding" not in name):
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        elif "embedding" in name:
            nn.init.normal_(weight, std=0.3)


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Questions with their answers, padded on the right.

    Returns:
        input_ids, attention_mask and labels, [batch, length]; only answers and their
        end-of-sequence are labelled.
    """
    prompts = [PROMPT.format(question=q).replace(IMAGE, IMAGE * IMAGE_TOKENS) for q, _ in examples]
    prompt_ids = tokenizer(prompts)["input_ids"]
    answer_ids = tokenizer([a for _, a in examples], add_special_tokens=False)["input_ids"]
    rows = [p + a + [tokenizer.eos_token_id] for p, a in zip(prompt_ids, answer_ids, strict=True)]
    length = max(map(len, rows))
    input_ids = torch.full((len(rows), length), tokenizer.pad_token_id)
    labels = torch.full((len(rows), length), IGNORED)
    mask = torch.zeros_like(input_ids)
    for i, (row, prompt) in enumerate(zip(rows, prompt_ids, strict=True)):
        input_ids[i, : len(row)] = torch.tensor(row)
        labels[i, len(prompt) : len(row)] = torch.tensor(row[len(prompt) :])
        mask[i, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def optimize(
    parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int, rate: float
) -> list[float]:
    """Train with AdamW and a one-cycle rate whose peak is `rate`; the loss of every step."""
    trained = [p for p in parameters if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    losses = []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


def write_curve(folder: Path, losses: list[float], **about: object) -> None:
    """Write `curve.json`: the loss every tenth step (mean of ten) and what else is `about` it."""
    means = [round(float(np.mean(losses[i : i + 10])), 4) for i in range(0, len(losses), 10)]
    curve = {**about, "step": list(range(10, len(losses) + 1, 10)), "loss": means}
    (folder / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
