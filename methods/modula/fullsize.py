"""MoDULA at full size with random weights: how fast a card trains, and in how much memory.

`python -m methods.modula.fullsize` builds Llama-2-7B's shape on the GPU in bf16 and trains, on
random tokens and with the house's own batches, loss and trainer: one domain expert (stage 2), the
routers over four (stage 3), and peft's LoRA of the same total rank. `--size tiny` does the same on
a CPU in seconds. It prints a Markdown table and JSON.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import set_seed

from harness import throughput
from harness.models.causal_lm import EncodedAnswer
from harness.settings import Lora, TrainSettings
from methods.modula.adapting import adapt, adapted, route
from methods.modula.layers import ROUTER
from methods.modula.step import answer_loss

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
EXPERTS, RANK, UNIVERSAL = ("math", "code", "medicine", "finance"), 8, 16
STAGES = ("stage 2", "stage 3", "lora")


@dataclass(frozen=True, kw_only=True)
class Report(throughput.Report):
    """What one training measured."""

    stage: str
    parameters: int
    trained_parameters: int
    batch_size: int
    length: int
    tokens_per_second: float
    model_tflops: float
    """4 per weight and token (forward, and back through the activations) in 10^12 a second;
    attention and what gradient checkpointing computes again are left out."""
    matmul_tflops: float
    """The card's measured peak in this run."""

    def cells(self, first: "Report") -> tuple[str, ...]:
        """A row's beginning."""
        return (
            self.stage,
            self.device,
            f"{self.parameters / 1e9:.2f}B, {self.trained_parameters / 1e6:.1f}M trained",
            f"{self.batch_size} x {self.length}",
            f"{self.tokens_per_second:,.0f}",
            f"{self.model_tflops:.3g} ({self.model_tflops / self.matmul_tflops:.0%})",
        )


HEAD = """\
| | device | weights | rows x tokens | tokens/s | model TFLOP/s (of peak) | peak memory | loss |
|---|---|---|---|---|---|---|---|"""


def measure(stage: str, options: argparse.Namespace) -> Report:
    """Build the model anew and train one stage of it."""
    device, dtype = throughput.best_device()
    peak = throughput.matmul_tflops(device, dtype)
    set_seed(options.seed)
    model = throughput.random_llama(options.size, device, dtype)
    chosen = None if stage == "lora" else trained_part(model.module, stage)
    rank = UNIVERSAL + RANK * len(EXPERTS)
    settings = TrainSettings(
        lr=options.lr,
        batch_size=options.batch_size,
        micro_batch=options.batch_size,
        schedule="constant",
        gradient_checkpointing=options.checkpointing,
        lora=Lora(r=rank, alpha=rank, targets=TARGETS) if stage == "lora" else None,
    )
    rows = random_rows(options, throughput.LLAMAS[options.size]["vocabulary"])
    loss = answer_loss(options.length / 2)
    with throughput.temporary_fit(model, options.seed) as fit:
        clock = throughput.timed_training(
            fit, rows, model.collate, loss, settings, options.steps, chosen
        )
    weights = list(fit.model.module.parameters())
    parameters = sum(parameter.numel() for parameter in weights)
    tokens = options.batch_size * options.length / clock.step(options.warm_up)
    return Report(
        **throughput.common(options.size, clock, options.warm_up),
        stage=stage,
        parameters=parameters,
        trained_parameters=sum(each.numel() for each in weights if each.requires_grad),
        batch_size=options.batch_size,
        length=options.length,
        tokens_per_second=tokens,
        model_tflops=4 * parameters * tokens / 1e12,
        matmul_tflops=peak,
    )


def trained_part(module: nn.Module, stage: str) -> list[nn.Parameter]:
    """The parameters of a stage, in a model that has all of MoDULA's layers."""
    adapt(module, TARGETS, "res", dict.fromkeys(EXPERTS, RANK), UNIVERSAL)
    part = ROUTER if stage == "stage 3" else EXPERTS[0]
    if stage == "stage 2":
        route(module, {part: 1.0})
    with torch.no_grad():  # as if trained: else the experts' own gradients begin at zero
        for layer in adapted(module).values():
            for expert in (layer.universal, *layer.routed.values()):
                expert.up.normal_(0.0, 0.02)
    return [parameter for layer in adapted(module).values() for parameter in layer.part(part)]


def random_rows(options: argparse.Namespace, vocabulary: int) -> list[EncodedAnswer]:
    """Rows of one length; half of each is its answer."""
    generator = torch.Generator().manual_seed(options.seed)
    half = options.length // 2

    def text(length: int) -> torch.Tensor:
        return torch.randint(2, vocabulary, (length,), generator=generator)

    return [EncodedAnswer(text(options.length - half), text(half)) for _ in range(options.rows)]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    sizes = throughput.LLAMAS
    parser = throughput.make_parser("modula", __doc__, sizes, ("rows", 16, 4), 1e-3)
    add = parser.add_argument
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    add("--length", type=int, default=2048, help="tokens of a row (default: 2048)")
    add("--no-checkpointing", dest="checkpointing", action="store_false")
    return throughput.checked(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    print(throughput.measure_each(HEAD, options.stages, lambda name: measure(name, options)))


if __name__ == "__main__":
    main()
