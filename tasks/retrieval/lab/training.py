"""The lab's base model, trained from scratch on the broad world: a CLIP."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from harness.contrastive import contrastive_loss
from harness.models.dual_encoder import DualEncoder
from tasks.retrieval.lab.drawing import picture
from tasks.retrieval.lab.things import Thing, draw_thing
from tasks.retrieval.lab.titles import caption
from tasks.retrieval.lab.tokens import (
    LONGEST,
    MAX_LENGTH,
    SPECIAL,
    garments_processor,
    pieces,
    words,
)

WIDTH, LAYERS, HEADS, PATCH, PROJECTION = 96, 3, 4, 8, 64
STEPS, RATE, BATCH, WARM_UP = 1600, 1e-3, 128, 100
POOL = 16_000
"""Photographs; their captions are written anew each time one is looked at."""


def build(out: Path, seed: int, steps: int = STEPS) -> None:
    """Pretrain the base on captions of things and write its Hugging Face folder, half precision."""
    from tasks.retrieval.lab.examine import examine

    torch.manual_seed(seed)
    model = DualEncoder(CLIPModel(configuration(len(words()), MAX_LENGTH)), garments_processor())
    fan_in(model.module)
    losses = train(model, batches(model, seed), steps)
    model.module = widened(model.module, seed)
    out.mkdir(parents=True, exist_ok=True)
    model.module.half()
    model.save(out)
    means = [round(float(np.mean(losses[i : i + 50])), 4) for i in range(0, len(losses), 50)]
    curve: dict[str, Any] = {"command": "harness build lab/garments-clip", "seed": seed}
    curve |= {"dev": examine(out), "step": list(range(50, len(losses) + 1, 50)), "loss": means}
    (out / "curve.json").write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")


def batches(model: DualEncoder, seed: int) -> Iterator[tuple[Tensor, list[str]]]:
    """Endless photographs, [batch, 3, 32, 32], with captions."""
    rng = random.Random(seed)
    things: list[Thing] = []
    parts = []
    for _ in range(POOL // 500):
        drawn = [draw_thing(rng) for _ in range(500)]
        things += [thing for thing, _ in drawn]
        parts.append(model.pixels([picture(look, rng) for _, look in drawn])["pixel_values"])
    pixels = torch.cat(parts)
    while True:
        chosen = rng.sample(range(POOL), BATCH)
        yield pixels[chosen], [caption(things[i], rng) for i in chosen]


def train(model: DualEncoder, data: Iterator[tuple[Tensor, list[str]]], steps: int) -> list[float]:
    """Train with AdamW, warm-up and a cosine; the loss of every step."""
    module = model.module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.01)

    def rate(step: int) -> float:
        return min((step + 1) / WARM_UP, 0.5 * (1 + float(np.cos(np.pi * step / steps))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    losses = []
    for _, (pixels, texts) in zip(range(steps), data, strict=False):
        images = model.image_features({"pixel_values": pixels})
        loss = contrastive_loss(
            images, model.text_features(model.tokens(texts)), model.scale, same_text(texts)
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    module.eval()
    return losses


def same_text(texts: list[str]) -> Tensor:
    """Which texts of a batch are alike, bool [texts, texts]."""
    codes = torch.tensor(np.unique(texts, return_inverse=True)[1])
    return codes[:, None] == codes[None]


def fan_in(model: CLIPModel) -> None:
    """Draw CLIP's weights anew at 1 / sqrt(inputs); its own scales are made for wide models."""
    for name, weight in model.named_parameters():
        if "patch_embedding" in name or (weight.dim() == 2 and "embedding" not in name):
            nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        elif "embedding" in name:
            nn.init.normal_(weight, std=0.3)


def widened(model: CLIPModel, seed: int) -> CLIPModel:
    """The model with rows for letters and for longer texts, drawn anew and seen by no training.

    What it makes of the lab's own texts stays the same; a shop's other words can be learned.
    """
    torch.manual_seed(seed)
    wide = CLIPModel(configuration(len(pieces()), LONGEST))
    fan_in(wide)
    trained = model.state_dict()
    for name, weight in wide.state_dict().items():
        weight.view(-1)[: trained[name].numel()] = trained[name].flatten()  # rows first
    return wide


def configuration(vocabulary: int, longest: int) -> CLIPConfig:
    """The base's size: 0.7M parameters."""
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }
    ids = {f"{name}_id": words()[SPECIAL[name]] for name in SPECIAL if name != "unk_token"}
    text = {
        **tower,
        **ids,
        "vocab_size": vocabulary,
        "max_position_embeddings": longest,
    }
    vision = {**tower, "image_size": 32, "patch_size": PATCH}
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION)
