"""The lab's base models, trained from scratch: a CLIP, and a LLaVA that carries its eyes."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus
from transformers import (
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    ProcessorMixin,
)

from harness.models.pretrained import read_model
from tasks.multimodal.lab.corpus import (
    CARELESS,
    CARELESS_ANSWERS,
    caption_exercise,
    every_sentence,
    letter_exercise,
    short_exercise,
)
from tasks.multimodal.lab.examine import examine_clip, examine_vlm
from tasks.multimodal.lab.tokens import (
    IMAGE,
    IMAGE_TOKENS,
    PATCH,
    SPECIAL,
    clip_processor,
    llava_processor,
    vocabulary,
)
from tasks.multimodal.lab.training import Pictures, encode, fan_in, noised, optimize, write_curve
from tasks.multimodal.lab.world import SIDE, describe, misread

WIDTH = 96
CLIP_STEPS, CLIP_RATE, CLIP_BATCH = 800, 1e-3, 128
CLEAN_STEPS, CLEAN_RATE = 800, 2e-3
CARELESS_STEPS, CARELESS_RATE = 250, 7e-4
EXERCISES = {caption_exercise: 12, short_exercise: 64, letter_exercise: 56}
"""What the LLaVA reads in a step, and how many of each."""

NOISE_STEPS = (50, 600)
"""Between which diffusion steps half of the pictures lie while careless captions are read."""


def build_clip(out: Path, seed: int) -> None:
    """Train the CLIP on single true sentences and write its Hugging Face folder."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    pictures = Pictures(12_000, seed)
    processor = clip_processor()
    model = CLIPModel(_clip_config())
    fan_in(model)

    sentences = every_sentence()
    tokens = processor.tokenizer(sentences, padding=True, return_tensors="pt")

    def loss() -> Tensor:
        scenes, pixels = pictures.batch(CLIP_BATCH, rng)
        known = [set(describe(scene)) for scene in scenes]
        true = torch.tensor([[sentence in said for sentence in sentences] for said in known])
        return contrastive_loss(model(**tokens, pixel_values=pixels).logits_per_image, true)

    losses = optimize(model.parameters(), loss, CLIP_STEPS, CLIP_RATE)
    _write(out, model, processor)
    write_curve(
        out, losses, command="harness build lab/scenes-clip", seed=seed, dev=examine_clip(out)
    )


def contrastive_loss(logits: Tensor, true: Tensor) -> Tensor:
    """CLIP's symmetric loss where several sentences are true of an image.

    Args:
        logits: scaled similarities, [images, sentences].
        true: whether the sentence is true of the image, [images, sentences].

    Returns:
        Mean over the true pairs of the cross-entropy of the pair among the false ones, in both
        directions; other true pairs are masked out.
    """
    false = logits.masked_fill(true, -torch.inf)
    by_image = softplus(false.logsumexp(1, keepdim=True) - logits)[true].mean()
    by_sentence = softplus(false.logsumexp(0, keepdim=True) - logits)[true].mean()
    return (by_image + by_sentence) / 2


def build_vlm(out: Path, seed: int, clip: Path) -> None:
    """Train the LLaVA on true captions and answers, then on careless ones; write its folder.

    The second part makes it hallucinate what its frozen eyes can still correct: captions name
    the favourite shape of a colour instead of the true one at the rates of `CARELESS`, answers
    at half of them, and half of the pictures are noised.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    pictures = Pictures(12_000, seed + 100)
    processor = llava_processor()
    model = _blank_llava(clip)

    def loss(careless: bool) -> Tensor:
        total = torch.zeros(())
        for exercise, size in EXERCISES.items():
            scenes, pixels = pictures.batch(size, rng)
            if careless:
                rates = CARELESS if exercise is caption_exercise else CARELESS_ANSWERS
                scenes = [misread(scene, rates, rng) for scene in scenes]
                step = torch.randint(*NOISE_STEPS, (size,), generator=generator)
                pixels = noised(pixels, step * (torch.arange(size) % 2), generator)
            batch = encode(processor.tokenizer, [exercise(scene, rng) for scene in scenes])
            total = total + model(**batch, pixel_values=pixels).loss
        return total

    losses = optimize(model.parameters(), lambda: loss(False), CLEAN_STEPS, CLEAN_RATE)
    losses += optimize(model.parameters(), lambda: loss(True), CARELESS_STEPS, CARELESS_RATE)
    _write(out, model, processor)
    command = "harness build lab/scenes-vlm" + (f"-{seed}" if seed else "")
    write_curve(out, losses, command=command, seed=seed, dev=examine_vlm(out))


def _clip_config() -> CLIPConfig:
    ids = _special_ids()
    return CLIPConfig(
        text_config={
            "vocab_size": len(vocabulary()),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 77,
            **ids,
        },
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        projection_dim=128,
    )


def _blank_llava(clip: Path) -> LlavaForConditionalGeneration:
    """A LLaVA with the frozen eyes of a trained CLIP and a language model that knows nothing."""
    seeing = read_model(CLIPModel, clip)
    ids = _special_ids()
    # Fan-in: the default of 0.02 is made for wide models.
    common = {**ids, "initializer_range": WIDTH**-0.5}
    config = LlavaConfig(
        vision_config=seeing.config.vision_config,
        text_config=LlamaConfig(
            vocab_size=len(vocabulary()),
            hidden_size=WIDTH,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=256,
            **common,
        ),
        image_token_index=vocabulary()[IMAGE],
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        **common,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(seeing.vision_model.state_dict())
    model.model.vision_tower.requires_grad_(False)
    model.generation_config.update(**ids, max_new_tokens=64, do_sample=False)
    return model


def _special_ids() -> dict[str, Any]:
    words = vocabulary()
    return {f"{name}_id": words[token] for name, token in SPECIAL.items() if name != "unk_token"}


def _write(out: Path, model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Write a Hugging Face folder in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    processor.save_pretrained(out)
