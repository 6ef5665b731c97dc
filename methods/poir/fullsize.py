"""POIR at full size with random weights: how fast a card collects and trains.

`python -m methods.poir.fullsize` builds Llama-2-7B's shape on the GPU in bf16 and, on random tokens
and with the house's own pipeline, batches, loss and trainer, collects one round of rewrites and
trains by DPO: LoRA of rank 64 on all linear layers, since AdamW of all weights takes 16 bytes a
weight, more than a card of 80 GB has. `--size tiny` does the same on a CPU in seconds. It prints
two Markdown tables, each with its JSON.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, set_seed

from harness import throughput
from harness.models.causal_lm import CausalLM
from harness.models.rewriting import Rewriting
from harness.settings import Lora, TrainSettings
from methods.poir.choice import Pair
from methods.poir.collect import Models, collected
from methods.poir.config import Collect, LossSettings
from methods.poir.scoring import Question
from methods.poir.step import collate, examples, pair_loss

RANK = 64


@dataclass(frozen=True, kw_only=True)
class Collection(throughput.Report):
    """What a collection measured; its one step is all of its prompts."""

    parameters: int
    prompts: int
    candidates: int
    """Of each prompt."""
    length: int
    """Tokens of a prompt and of each of its answers."""
    new_tokens: int
    """Of each candidate."""
    prompts_per_minute: float
    sampled_per_second: float
    """New tokens, while candidates are sampled."""
    scored_per_second: float
    """Tokens of prompts, candidates and answers, every text counted whole, in the rest of the time:
    scoring, choosing, keeping."""

    def cells(self, first: "Collection") -> tuple[str, ...]:
        """A row's beginning."""
        return (
            self.device,
            f"{self.parameters / 1e9:.2f}B",
            f"{self.prompts} x {self.length}",
            f"{self.candidates} x {self.new_tokens}",
            f"{self.prompts_per_minute:,.0f}",
            f"{self.sampled_per_second:,.0f}",
            f"{self.scored_per_second:,.0f}",
        )


@dataclass(frozen=True, kw_only=True)
class Training(throughput.Report):
    """What DPO measured."""

    parameters: int
    trained_parameters: int
    batch_size: int
    micro_batch: int
    tokens_per_step: int
    """Of prompts and rewrites, chosen and rejected."""
    tokens_per_second: float
    model_tflops: float
    """4 per weight of the layers and token (forward, and back through the activations) in 10^12 a
    second; head, attention and what gradient checkpointing computes again are left out."""
    matmul_tflops: float
    """The card's measured peak in this run."""

    def cells(self, first: "Training") -> tuple[str, ...]:
        """A row's beginning."""
        return (
            self.device,
            f"{self.parameters / 1e9:.2f}B, {self.trained_parameters / 1e6:.1f}M trained",
            f"{self.batch_size} ({self.micro_batch})",
            f"{self.tokens_per_second:,.0f}",
            f"{self.model_tflops:.3g} ({self.model_tflops / self.matmul_tflops:.0%})",
        )


COLLECTION_HEAD = """\
| device | weights | prompts x tokens | candidates x tokens | prompts/min | sampled tokens/s \
| scored tokens/s | peak memory |
|---|---|---|---|---|---|---|---|"""
TRAINING_HEAD = """\
| device | weights | pairs of a step (pass) | tokens/s | model TFLOP/s (of peak) | peak memory \
| loss |
|---|---|---|---|---|---|---|"""


class Timed(CausalLM):
    """A model that measures how long it generates."""

    seconds = 0.0

    def generate(self, *arguments: Any, **keywords: Any) -> list[str]:
        """As `CausalLM.generate`, with the clock."""
        started = throughput.now(self.device)
        said = super().generate(*arguments, **keywords)
        self.seconds += throughput.now(self.device) - started
        return said


def collection(options: argparse.Namespace) -> Collection:
    """One round of rewrites of random prompts, after one of a single prompt to warm up."""
    model = synthetic_model(options)
    asked = [
        Question(*texts)
        for texts in random_texts(options, [options.length] * 3, options.prompts + 1)
    ]
    rewriting = Rewriting(template="{prompt}", max_new_tokens=options.new_tokens)
    settings = Collect(
        recirculations=1, candidates=options.candidates, batch_size=options.texts, shortest=0
    )
    clock = throughput.Clock(model.device)
    for some in (asked[:1], asked[1:]):
        rewriter = Timed(model.module, model.tokenizer)
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        with throughput.temporary_fit(model, options.seed) as fit:
            clock.on_step_begin()
            history = collected(fit, Models(rewriter, model), some, rewriting, settings, {})
            clock.on_step_end()
    seconds = clock.seconds[-1]
    scored = [each for row in history for each in row["rounds"][0]["candidates"] if "good" in each]
    answers = 2 * (options.length + 1) * (len(scored) + options.prompts)
    texts = 2 * (options.new_tokens * len(scored) + options.length * options.prompts)
    sampled = options.prompts * options.candidates * options.new_tokens
    return Collection(
        **throughput.common(options.size, clock, warm_up=1),
        parameters=sum(weight.numel() for weight in model.module.parameters()),
        prompts=options.prompts,
        candidates=options.candidates,
        length=options.length,
        new_tokens=options.new_tokens,
        prompts_per_minute=60 * options.prompts / seconds,
        sampled_per_second=sampled / rewriter.seconds,
        scored_per_second=(answers + texts) / (seconds - rewriter.seconds),
    )


def training(options: argparse.Namespace) -> Training:
    """DPO on pairs of random rewrites, the model itself as reference."""
    model = synthetic_model(options)
    peak = throughput.matmul_tflops(model.device, model.dtype)
    layers = sum(weight.numel() for weight in model.module.model.layers.parameters())
    lengths = [options.length, options.new_tokens, options.new_tokens]
    pairs = [Pair(*texts) for texts in random_texts(options, lengths, options.pairs)]
    settings = TrainSettings(
        lr=options.lr,
        batch_size=options.batch_size,
        micro_batch=min(options.micro_batch, options.batch_size),
        schedule="constant",
        gradient_checkpointing=True,
        lora=Lora(r=RANK, alpha=RANK),
    )
    loss = pair_loss(LossSettings(), options.new_tokens)
    with throughput.temporary_fit(model, options.seed) as fit:
        rows = examples(fit, model, pairs, Rewriting(template="{prompt}"), settings)
        clock = throughput.timed_training(fit, rows, collate(model), loss, settings, options.steps)
    weights = list(model.module.parameters())
    tokens = 2 * options.batch_size * (options.length + options.new_tokens + 1)
    rate = tokens / clock.step(options.warm_up)
    return Training(
        **throughput.common(options.size, clock, options.warm_up),
        parameters=sum(weight.numel() for weight in weights),
        trained_parameters=sum(weight.numel() for weight in weights if weight.requires_grad),
        batch_size=options.batch_size,
        micro_batch=settings.micro_batch,
        tokens_per_step=tokens,
        tokens_per_second=rate,
        model_tflops=4 * layers * rate / 1e12,
        matmul_tflops=peak,
    )


def synthetic_model(options: argparse.Namespace) -> CausalLM:
    """Random weights with a tokenizer that reads a word as a token; it never ends by itself."""
    set_seed(options.seed)
    model = throughput.random_llama(options.size, *throughput.best_device())
    words = ["<s>", "<pad>", "</s>", *words_of(options.size)]
    by_word = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(by_word, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>"
    )
    model.module.generation_config.eos_token_id = None
    model.module.eval()
    return model


def words_of(size: str) -> list[str]:
    """Made-up words, one for every token but the three special ones."""
    return [f"w{token}" for token in range(3, throughput.LLAMAS[size]["vocabulary"])]


def random_texts(
    options: argparse.Namespace, lengths: Sequence[int], count: int
) -> list[list[str]]:
    """So many rows of random texts, each with as many tokens as `lengths` says."""
    words = words_of(options.size)
    generator = torch.Generator().manual_seed(options.seed)

    def text(length: int) -> str:
        drawn = torch.randint(len(words), (length,), generator=generator).tolist()
        return " ".join(words[i] for i in drawn)

    return [[text(length) for length in lengths] for _ in range(count)]


PARTS: Mapping[str, tuple[str, Callable[[argparse.Namespace], throughput.Report]]] = {
    "collection": (COLLECTION_HEAD, collection),
    "dpo": (TRAINING_HEAD, training),
}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    sizes = throughput.LLAMAS
    parser = throughput.make_parser("poir", __doc__, sizes, ("pairs", 32, 16), 1e-4)
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--micro-batch", type=int, default=4, help="pairs of a forward pass (default: 4)")
    add("--prompts", type=int, default=32, help="whose rewrites are collected (default: 32)")
    add("--candidates", type=int, default=8, help="rewrites of each (default: 8)")
    add("--texts", type=int, default=256, help="texts sampled at once (default: 256)")
    add("--length", type=int, default=128, help="tokens of prompt or answer (default: 128)")
    add("--new-tokens", type=int, default=64, help="tokens of a rewrite (default: 64)")
    return throughput.checked(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    for part in options.parts:
        head, _ = PARTS[part]
        table = throughput.measure_each(head, [part], lambda name: PARTS[name][1](options))
        print(table, end="\n\n")


if __name__ == "__main__":
    main()
