"""A small LLaVA with a big vocabulary, a batch of pairs for it, and a step of an optimizer."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from harness.losses import answer_log_probs
from harness.settings import TrainSettings
from harness.trainer import PlainTrainer, training_arguments
from methods.aspo.batches import model_inputs
from methods.aspo.config import LossSettings
from methods.aspo.step import pair_loss

VOCABULARY = 32_000
IMAGE_TOKEN = 4
IMAGE_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS = 16, 32, (96, 128)
SENTENCE = 16
"""Tokens of a sentence."""
PAIRS = 8
SETTINGS = TrainSettings(lr=1e-6, schedule="constant", precision="fp32")


def small_llava() -> LlavaForConditionalGeneration:
    """Random weights, 20 million of them, most in embedding and head; the same at every call."""
    small = {"num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **small, hidden_size=128, intermediate_size=256, image_size=64, patch_size=16
        ),
        text_config=LlamaConfig(
            **small, hidden_size=256, intermediate_size=688, vocab_size=VOCABULARY
        ),
        image_token_index=IMAGE_TOKEN,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlavaForConditionalGeneration(config)


def batch_of_pairs(module: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """What `Batches.collate` makes of pairs of such lengths; the reference is a little off the
    model, so that the loss has a gradient of its own to check."""
    generator = torch.Generator().manual_seed(1)

    def draw(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    start = IMAGE_TOKENS + PROMPT_TOKENS
    end = start + draw(*ANSWER_TOKENS, 2 * PAIRS)[:, None] + 1
    place = torch.arange(int(end.max()))
    input_ids = draw(5, VOCABULARY, 2 * PAIRS, len(place))
    input_ids[PAIRS:, :start] = input_ids[:PAIRS, :start]
    input_ids[:, 1 : 1 + IMAGE_TOKENS] = IMAGE_TOKEN
    answer_mask = (place >= start) & (place < end)
    sentence_id = ((place - start) // SENTENCE).expand(PAIRS, -1)
    sentence_id = sentence_id.masked_fill(~answer_mask[:PAIRS], -1)
    batch = {
        "input_ids": input_ids.masked_fill(place >= end, 0),
        "attention_mask": (place < end).long(),
        "pixel_values": torch.randn(PAIRS, 3, 64, 64, generator=generator).repeat(2, 1, 1, 1),
        "answer_mask": answer_mask,
        "sentence_id": sentence_id,
        "present": torch.arange(int(sentence_id.max()) + 1) <= sentence_id.amax(1, keepdim=True),
    }
    batch["scores"] = torch.rand(batch["present"].shape, generator=generator)
    with torch.no_grad():
        log_probs = answer_log_probs(module, model_inputs(batch), answer_mask)
    reference = log_probs + 0.1 * torch.randn(log_probs.shape, generator=generator) * answer_mask
    chosen, rejected = reference.chunk(2)
    return {**batch, "reference_chosen": chosen, "reference_rejected": rejected.sum(1)}


def our_step(
    module: Any, batch: Mapping[str, Tensor], settings: LossSettings, folder: Path
) -> Callable[[], float]:
    """An optimizer step of the house's trainer with the loss of these settings."""
    arguments = training_arguments(SETTINGS, 0, folder, torch.device("cpu"))
    trainer = PlainTrainer(model=module, args=arguments)
    trainer.loss = pair_loss(settings)
    return step_of(trainer, batch)


def step_of(trainer: Any, batch: Mapping[str, Tensor]) -> Callable[[], float]:
    """One optimizer step as the Trainer's own loop makes it: forward, backward, clipped gradient,
    AdamW. Gives the loss."""
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1

    def step() -> float:
        loss = trainer.training_step(trainer.model, dict(batch))
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), SETTINGS.max_grad_norm)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return float(loss)

    return step
