"""FashionKLIP at full size with random weights: how fast a card trains, and in how much memory.

`python -m methods.fashionklip.fullsize` builds CLIP ViT-B/32 on the GPU in bf16 and trains it, on
random pictures and tokens and with the house's own batches, losses and trainer: by `clip`, and by
`fashionklip` with its concepts, whose images are found anew once. `--size tiny` does the same on a
CPU in seconds. It prints a Markdown table and JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, set_seed

from harness import throughput
from harness.models.dual_encoder import DualEncoder
from harness.models.lengths import pad_id
from harness.models.texts import Texts
from harness.settings import TrainSettings
from harness.trainer import casts
from harness.training import Collate
from methods.fashionklip.concept_images import concept_images
from methods.fashionklip.config import ConceptSettings
from methods.fashionklip.data import PROMPT, Catalogue, WithConcepts
from methods.fashionklip.step import concept_step, contrastive_step

SIZES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "vit-b-32": {"vision": {}, "text": {}},  # transformers' defaults
    "tiny": {
        "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "intermediate_size": 64},
        "text": {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64},
    },
}
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2}
METHODS = ("clip", "fashionklip")
PROMPT_LENGTH = 9
"""Tokens of a concept's prompt: "a photo of", three words, begin and end, one word in two."""


@dataclass(frozen=True, kw_only=True)
class Report(throughput.Report):
    """What one training measured."""

    method: str
    parameters: int
    batch_size: int
    texts_per_step: int
    """Titles, and with concepts their different prompts in the first batch."""
    length: int
    images_per_second: float
    """Of the steps alone."""
    refresh_images_per_second: float | None
    """Of finding the concept images: encoding all pictures and prompts, and the search."""
    epoch_images_per_second: float
    """Of steps and refresh, once each for every picture."""
    model_tflops: float
    """6 per weight and token of a tower in 10^12 a second; embeddings of words, attention and
    padding are left out."""
    matmul_tflops: float
    """The card's measured peak in this run."""

    def cells(self, first: "Report") -> tuple[str, ...]:
        """A row's beginning, against the first method's."""
        return (
            self.method,
            self.device,
            f"{self.parameters / 1e6:.0f}M",
            f"{self.batch_size:,} + {self.texts_per_step:,}",
            f"{self.images_per_second:,.0f}",
            f"{self.epoch_images_per_second:,.0f}",
            f"{first.epoch_images_per_second / self.epoch_images_per_second:.2f}",
            f"{self.model_tflops:.3g} ({self.model_tflops / self.matmul_tflops:.0%})",
        )


HEAD = """\
| | device | weights | pictures + texts a step | images/s | with refresh | epoch / the first's \
| model TFLOP/s (of peak) | peak memory | loss |
|---|---|---|---|---|---|---|---|---|---|"""


class RandomCatalogue(Catalogue):
    """Pictures of noise and titles of random tokens, each of a product of its own."""

    def __init__(self, model: DualEncoder, options: argparse.Namespace) -> None:
        generator = torch.Generator().manual_seed(options.seed)
        side = model.module.config.vision_config.image_size
        self._model = model
        pixels = torch.randn(options.rows, 3, side, side, generator=generator)
        self._pixels = {"pixel_values": pixels.to(model.dtype)}
        self._titles = random_texts(model, options.rows, options.length, generator)
        self.products = self.texts = torch.arange(options.rows)
        self.views = []

    def __len__(self) -> int:
        return len(self.products)


class RandomConcepts(WithConcepts):
    """Such a catalogue, each title with as many concepts as it may have."""

    def __init__(
        self, catalogue: Catalogue, model: DualEncoder, slots: int, options: argparse.Namespace
    ) -> None:
        generator = torch.Generator().manual_seed(options.seed + 1)
        self._catalogue = catalogue
        self._prompts = random_texts(model, options.concepts + 1, PROMPT_LENGTH, generator)
        shape = (len(catalogue), slots)
        self.slots = torch.randint(options.concepts, shape, generator=generator)

    def prompts(self) -> Tensor:
        """Token ids of all concepts, [concepts, length]."""
        return self._prompts.batch(range(1, len(self._prompts)))["input_ids"]


def measure(method: str, options: argparse.Namespace) -> Report:
    """Build the model anew and train it by one method."""
    device, dtype = throughput.best_device()
    peak = throughput.matmul_tflops(device, dtype)
    set_seed(options.seed)
    model = random_model(options.size, device, dtype)
    catalogue = RandomCatalogue(model, options)
    settings = TrainSettings(
        lr=options.lr,
        batch_size=options.batch_size,
        micro_batch=options.batch_size,
        schedule="constant",
        gradient_checkpointing=options.checkpointing,
    )
    concepts = ConceptSettings()
    rows = RandomConcepts(catalogue, model, concepts.slots, options)
    collate: Collate = catalogue.batch
    loss, refresh = contrastive_step(model), None
    if method == "fashionklip":
        seconds, images = refreshed(model, catalogue, rows, concepts)
        words = torch.arange(2 * options.concepts).view(-1, 2)  # none is related to another
        cast = torch.bfloat16 if casts(settings, model.device) else None
        collate, loss = rows.batch, concept_step(model, concepts, lambda: images, words, cast)
        refresh = options.rows / seconds
    with throughput.temporary_fit(model, options.seed) as fit:
        clock = throughput.timed_training(
            fit, range(options.rows), collate, loss, settings, options.steps
        )
    rate = options.batch_size / clock.step(options.warm_up)
    batch = collate(range(options.batch_size))
    return Report(
        **throughput.common(options.size, clock, options.warm_up),
        method=method,
        parameters=sum(each.numel() for each in model.module.parameters()),
        batch_size=options.batch_size,
        texts_per_step=len(batch["input_ids"]) + len(batch.get(f"{PROMPT}input_ids", ())),
        length=options.length,
        images_per_second=rate,
        refresh_images_per_second=refresh,
        epoch_images_per_second=rate if refresh is None else 1 / (1 / rate + 1 / refresh),
        model_tflops=operations(model, batch) * rate / options.batch_size / 1e12,
        matmul_tflops=peak,
    )


def random_model(size: str, device: torch.device, dtype: torch.dtype) -> DualEncoder:
    """Random weights in CLIP's shape, with a tokenizer that can pad."""
    tokenizer = throughput.padding_tokenizer()
    inner = SMALL if size == "tiny" else {}
    text = {**SIZES[size]["text"], **inner}
    words = text.get("vocab_size", 49408)
    special = {
        "bos_token_id": 0,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": words - 1,
    }
    config = CLIPConfig(
        text_config={**text, **special}, vision_config={**SIZES[size]["vision"], **inner}
    )
    module: Any = throughput.random_weights(lambda: CLIPModel(config), device, dtype)
    side = module.config.vision_config.image_size
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return DualEncoder(module, CLIPProcessor(pictures, tokenizer), batch_size=512)


def random_texts(model: DualEncoder, count: int, length: int, generator: torch.Generator) -> Texts:
    """Texts of one length, each with its end."""
    end = model.module.config.text_config.eos_token_id
    ids = torch.randint(2, end, (count, length), generator=generator)
    ids[:, -1] = end
    return Texts(ids.int().flatten(), torch.full((count,), length), pad_id(model.tokenizer))


@torch.no_grad()
def refreshed(
    model: DualEncoder, catalogue: Catalogue, rows: RandomConcepts, settings: ConceptSettings
) -> tuple[float, Tensor]:
    """Seconds of finding each concept's images, and their vectors, [concepts, images, width]."""
    model.module.eval()
    catalogue.encoded(range(min(len(catalogue), model.batch_size)))  # once to warm up
    started = throughput.now(model.device)
    pool = catalogue.encoded(range(len(catalogue)))
    parts = rows.prompts().split(model.batch_size)
    prompts = torch.cat([model.text_features({"input_ids": some}).cpu() for some in parts])
    places = concept_images(prompts, pool, settings.images, settings.candidates, settings.relevance)
    seconds = throughput.now(model.device) - started
    return seconds, pool[places].to(model.device)


def operations(model: DualEncoder, batch: Mapping[str, Any]) -> float:
    """Of one step on a batch: 6 per weight and token of the tower that reads it."""
    words = model.module.text_model.embeddings.token_embedding.weight
    masks = (mask for name, mask in batch.items() if name.endswith("attention_mask"))
    tokens = int(sum(mask.sum() for mask in masks))
    read = model.readers(tokens, len(batch["pixel_values"]))
    return sum(
        6.0 * seen * sum(each.numel() for each in weights if each is not words)
        for weights, seen in read
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = throughput.make_parser("fashionklip", __doc__, SIZES, ("rows", 2048, 1024), 3e-4)
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--length", type=int, default=32, help="tokens of a title (default: 32)")
    add("--concepts", type=int, default=2000, help="different concepts (default: 2000)")
    add("--checkpointing", action="store_true", help="recompute activations")
    return throughput.checked(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    print(throughput.measure_each(HEAD, options.methods, lambda name: measure(name, options)))


if __name__ == "__main__":
    main()
