"""ASPO at full size with random weights: how fast a card trains, and in how much memory.

`python -m methods.aspo.fullsize` builds LLaVA-1.5-7B on the GPU in bf16 and trains LoRA adapters
on synthetic pairs by the house's own batches, reference, loss and trainer; `--size tiny` does the
same on a CPU in seconds. It prints a Markdown row and JSON.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from transformers import set_seed

from harness import throughput
from harness.settings import Lora, TrainSettings
from harness.training import Fit
from methods.aspo.batches import Batches, Example
from methods.aspo.config import LossSettings
from methods.aspo.plugin import LANGUAGE_MODEL_LAYERS
from methods.aspo.prepare import reference_log_probs
from methods.aspo.step import pair_loss
from methods.aspo.synthetic import SIZES, Flops, SyntheticModel, random_pairs, sequence_flops

REPORTED = {"lr", "batch_size", "micro_batch", "gradient_checkpointing", "lora"}


@dataclass(frozen=True, kw_only=True)
class Report(throughput.Report):
    """What a run measured."""

    parameters: int
    trained_parameters: int
    train: dict[str, Any]
    """Batch, micro-batch, rate and adapters: `TrainSettings`."""
    steps: int
    tokens_per_step: float
    """Tokens of text and pictures, padding left out."""
    answer_tokens_per_step: float
    model_flops_per_step: float
    recomputed_flops_per_step: float
    tokens_per_second: float
    model_tflops: float
    """Operations per second in 10^12, each counted once: `sequence_flops`."""
    hardware_tflops: float
    """With what gradient checkpointing computes again."""
    matmul_tflops: float
    """The card's measured peak in this run: large matrix products in the same precision."""
    model_share: float
    hardware_share: float

    def cells(self, first: "Report") -> tuple[str, ...]:
        """A row's beginning."""
        return (
            self.device,
            self.size,
            f"{self.parameters / 1e9:.2f}B + {self.trained_parameters / 1e9:.2f}B",
            f"{self.train['batch_size']} ({self.train['micro_batch']})",
            f"{self.tokens_per_second:,.0f}",
            f"{self.model_tflops:.3g} ({self.model_share:.0%})",
            f"{self.hardware_tflops:.3g} ({self.hardware_share:.0%})",
            f"{self.matmul_tflops:.3g}",
        )


HEAD = """\
| device | size | weights + LoRA | pairs per step (pass) | tokens/s | model TFLOP/s (of peak)\
 | with recompute (of peak) | matmul peak | peak memory | loss |
|---|---|---|---|---|---|---|---|---|---|"""


def measure(options: argparse.Namespace) -> Report:
    """Build, train and measure as the command line says."""
    device, dtype = throughput.best_device()
    peak = throughput.matmul_tflops(device, dtype)
    set_seed(options.seed)
    model = SyntheticModel(SIZES[options.size], device, dtype)
    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    settings = train_settings(options)
    with throughput.temporary_fit(model, options.seed) as fit:
        batches = Batches(fit.model, None, fit.dataset)
        examples = _examples(fit, batches, options)
        loss = pair_loss(LossSettings())
        clock = throughput.timed_training(
            fit, examples, batches.collate, loss, settings, options.steps
        )
    step = _mean_step(batches, examples, options)
    seconds = clock.step(options.warm_up)
    model_tflops = step.flops.model / seconds / 1e12
    hardware_tflops = step.flops.hardware / seconds / 1e12
    return Report(
        **throughput.common(options.size, clock, options.warm_up),
        parameters=parameters,
        trained_parameters=sum(p.numel() for p in fit.model.module.parameters() if p.requires_grad),
        train=settings.model_dump(mode="json", include=REPORTED),
        steps=len(clock.seconds),
        tokens_per_step=step.tokens,
        answer_tokens_per_step=step.answer_tokens,
        model_flops_per_step=step.flops.model,
        recomputed_flops_per_step=step.flops.recomputed,
        tokens_per_second=step.tokens / seconds,
        model_tflops=model_tflops,
        hardware_tflops=hardware_tflops,
        matmul_tflops=peak,
        model_share=model_tflops / peak,
        hardware_share=hardware_tflops / peak,
    )


def train_settings(options: argparse.Namespace) -> TrainSettings:
    """The paper profile's training with what the command line changes."""
    size = SIZES[options.size]
    rank = options.rank or size.rank
    return TrainSettings(
        lr=options.lr or size.lr,
        batch_size=options.batch_size,
        micro_batch=min(options.micro_batch, options.batch_size),
        schedule="constant",
        precision="auto",
        gradient_checkpointing=True,
        lora=Lora(r=rank, alpha=2 * rank, targets=LANGUAGE_MODEL_LAYERS),
    )


def _examples(fit: Fit, batches: Batches, options: argparse.Namespace) -> list[Example]:
    """Pairs with their reference from the model itself, and random similarities."""
    made = random_pairs(options.pairs, SIZES[options.size], options.seed)
    references = reference_log_probs(fit, made, batches, train_settings(options))
    generator = torch.Generator().manual_seed(options.seed)
    return [
        Example(pair, one["chosen"], one["rejected"], scores)
        for pair, one in zip(made, references, strict=True)
        for scores in [torch.rand(len(pair.sentences), generator=generator).tolist()]
    ]


class _Step(NamedTuple):
    flops: Flops
    tokens: float
    answer_tokens: float


def _mean_step(batches: Batches, examples: Sequence[Example], options: argparse.Namespace) -> _Step:
    """Operations and tokens of a step of pairs of mean length."""
    size = SIZES[options.size]
    encoded = [one for example in examples for one in batches.encode(example.pair)[:2]]
    lengths = [(len(one.input_ids), len(one.spans)) for one in encoded]
    flops = [sequence_flops(size, options.rank or size.rank, *length) for length in lengths]
    share = options.batch_size / len(examples)
    model, recomputed, tokens, answers = (
        share * sum(column) for column in (*zip(*flops, strict=True), *zip(*lengths, strict=True))
    )
    return _Step(Flops(model, recomputed), tokens, answers)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = throughput.make_parser("aspo", __doc__, SIZES, ("pairs", 32, 16), None)
    add = parser.add_argument
    add("--micro-batch", type=int, default=4, help="pairs of a forward pass (default: 4)")
    add("--rank", type=int, help="of LoRA; alpha is twice as much (default: the size's)")
    return throughput.checked(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    report = measure(parsed(arguments))
    print(f"{HEAD}\n{report.row(report)}\n\n{json.dumps(asdict(report))}")


if __name__ == "__main__":
    main()
