"""CTSD at full size with random weights: how fast a card trains, and in how much memory.

`python -m methods.ctsd.fullsize` builds NLLB-200-600M's shape on the GPU in bf16 and trains all
its weights on random pairs of tokens, by ce, ct and ctsd in turn, with the house's own batches,
losses and trainer; `--size tiny` does the same on a CPU in seconds. It prints a Markdown table and
JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    set_seed,
)

from harness import throughput
from harness.models.translator import EncodedPair
from harness.models.translators import SeqToSeq
from harness.settings import TrainSettings
from methods.ctsd.config import CrossEntropy, LossSettings, Unweighted
from methods.ctsd.step import translation_loss

ARMS: Mapping[str, LossSettings] = {
    "ce": CrossEntropy(),
    "ct": Unweighted(),
    "ctsd": LossSettings(),
}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "600m": {"vocab_size": 256_206, "d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096},
    "tiny": {"vocab_size": 500, "d_model": 32, "layers": 2, "heads": 2, "ffn": 64},
}
"""Of facebook/nllb-200-distilled-600M by its config, and one for a CPU."""

PAD, START = 1, 2


@dataclass(frozen=True, kw_only=True)
class Report(throughput.Report):
    """What one method's training measured."""

    method: str
    parameters: int
    batch_size: int
    length: int
    """Tokens of a text and of its translation, each."""
    tokens_per_second: float
    """Of texts and translations."""

    def cells(self, first: "Report") -> tuple[str, ...]:
        """A row's beginning, against the first method's."""
        return (
            self.method,
            self.device,
            f"{self.parameters / 1e6:,.0f}M",
            f"{self.batch_size} x {self.length}",
            f"{self.tokens_per_second:,.0f}",
            f"{self.seconds_per_step / first.seconds_per_step:.3f}",
        )


HEAD = """\
| method | device | weights | pairs x tokens | tokens/s | step / first's | peak memory | loss |
|---|---|---|---|---|---|---|---|"""


def measure(name: str, options: argparse.Namespace) -> Report:
    """Build the model anew and train it by one method."""
    device, dtype = throughput.best_device()
    set_seed(options.seed)
    model = synthetic_model(options.size, device, dtype)
    settings = TrainSettings(
        lr=options.lr,
        batch_size=options.batch_size,
        micro_batch=options.batch_size,
        schedule="constant",
    )
    pairs = random_pairs(options, model.module.config.vocab_size)
    loss = translation_loss(ARMS[name], options.length)
    with throughput.temporary_fit(model, options.seed) as fit:
        clock = throughput.timed_training(fit, pairs, model.collate, loss, settings, options.steps)
    return Report(
        **throughput.common(options.size, clock, options.warm_up),
        method=name,
        parameters=sum(parameter.numel() for parameter in model.module.parameters()),
        batch_size=options.batch_size,
        length=options.length,
        tokens_per_second=2 * options.batch_size * options.length / clock.step(options.warm_up),
    )


def synthetic_model(size: str, device: torch.device, dtype: torch.dtype) -> SeqToSeq:
    """Random weights in an NLLB's shape."""
    shape = SIZES[size]
    config = M2M100Config(
        vocab_size=shape["vocab_size"],
        d_model=shape["d_model"],
        encoder_layers=shape["layers"],
        decoder_layers=shape["layers"],
        encoder_attention_heads=shape["heads"],
        decoder_attention_heads=shape["heads"],
        encoder_ffn_dim=shape["ffn"],
        decoder_ffn_dim=shape["ffn"],
        pad_token_id=PAD,
        decoder_start_token_id=START,
    )
    module = throughput.random_weights(
        lambda: M2M100ForConditionalGeneration(config), device, dtype
    )
    return SeqToSeq(module, throughput.padding_tokenizer())


def random_pairs(options: argparse.Namespace, vocabulary: int) -> list[EncodedPair]:
    """Pairs whose translations repeat some of their tokens, so that every term has negatives."""
    generator = torch.Generator().manual_seed(options.seed)
    words = min(vocabulary - 3, options.length)

    def text() -> torch.Tensor:
        chosen = torch.randint(3, vocabulary, (words,), generator=generator)
        return chosen[torch.randint(words, (options.length,), generator=generator)]

    return [EncodedPair(text(), text()) for _ in range(options.pairs)]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = throughput.make_parser("ctsd", __doc__, SIZES, ("pairs", 64, 32), 1e-4)
    parser.add_argument("--methods", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--length", type=int, default=128, help="tokens of a text (default: 128)")
    return throughput.checked(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    print(throughput.measure_each(HEAD, options.methods, lambda name: measure(name, options)))


if __name__ == "__main__":
    main()
