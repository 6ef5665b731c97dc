"""How fast a device trains a model, and in how much memory: what full-size measurements share.

The house's own trainer, batches and losses run on random weights; nothing is written but to a
temporary folder.
"""

import gc
import json
import platform
import resource
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from transformers.trainer_utils import SaveStrategy

from harness.dataset import EmbeddedDataset
from harness.method import MethodConfig
from harness.models.causal_lm import CausalLM
from harness.settings import TrainSettings
from harness.store import Store
from harness.training import Collate, Fit, Loss, make_trainer, prepare

R = TypeVar("R", bound="Report")
PACKAGES = ("torch", "transformers", "peft", "accelerate")
LLAMAS: Mapping[str, Mapping[str, int]] = {
    "7b": {"vocabulary": 32_000, "width": 4096, "inner": 11_008, "layers": 32, "heads": 32},
    "tiny": {"vocabulary": 300, "width": 64, "inner": 128, "layers": 2, "heads": 2},
}
"""Llama-2-7B by its config, and one for a CPU."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What every measurement reports. Rates are of the median step after the warm-up."""

    size: str
    device: str
    versions: dict[str, str]
    seconds_per_step: float
    peak_memory_gib: float
    losses: list[float]
    """Of every step; none where nothing is trained."""

    def cells(self, first: Any) -> Sequence[str]:
        """Its own part of a row of the table, which memory and, of a training, loss end."""
        raise NotImplementedError

    def row(self, first: Any) -> str:
        """A row of a Markdown table, given the first row's report too."""
        cells = [*self.cells(first), f"{self.peak_memory_gib:.1f} GiB"]
        if self.losses:
            cells.append(f"{self.losses[0]:.3f} -> {self.losses[-1]:.3f}")
        return f"| {' | '.join(cells)} |"


class Clock(TrainerCallback):
    """Seconds of every step, and the loss that the trainer logs after it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = now(self.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(now(self.device) - self._started)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            self.losses.append(float(logs["loss"]))

    def step(self, warm_up: int) -> float:
        """Seconds of the median step after the warm-up."""
        return median(self.seconds[warm_up:])


def best_device() -> tuple[torch.device, torch.dtype]:
    """The GPU in bf16 where there is one, else the CPU in fp32."""
    cuda = torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if cuda else torch.float32


def random_weights(
    make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """What `make` builds, right on the device in its precision: nothing is made twice."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return make()
    finally:
        torch.set_default_dtype(usual)


def padding_tokenizer() -> Any:
    """A tokenizer that knows nothing but padding, token 1: synthetic rows are tokens already."""
    words = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2}, unk_token="<s>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")


def random_llama(size: str, device: torch.device, dtype: torch.dtype) -> CausalLM:
    """Random weights in a Llama's shape, one of `LLAMAS`."""
    shape = LLAMAS[size]
    config = LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["inner"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        max_position_embeddings=8192,
    )
    module = random_weights(lambda: LlamaForCausalLM(config), device, dtype)
    return CausalLM(module, padding_tokenizer())


def now(device: torch.device) -> float:
    """Seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def synthetic_fit(model: Any, folder: Path, seed: int) -> Fit:
    """A fit of a model that no run asked for; its rows are given to `timed_training`."""
    return Fit(
        config=MethodConfig(),
        model=model,
        dataset=EmbeddedDataset("synthetic", {"train": list}),
        rows=[],
        seed=seed,
        folder=folder,
        store=Store(folder / "store"),
        inputs={},
        resolve=str,
    )


@contextmanager
def temporary_fit(model: Any, seed: int) -> Iterator[Fit]:
    """Such a fit in a folder that is removed after it."""
    with tempfile.TemporaryDirectory() as folder:
        yield synthetic_fit(model, Path(folder), seed)


def timed_training(
    fit: Fit,
    rows: Sequence[Any],
    collate: Collate,
    loss: Loss,
    settings: TrainSettings,
    steps: int,
    parameters: Sequence[nn.Parameter] | None = None,
) -> Clock:
    """As `Fit.train`, with a clock and without checkpoints, which can be tens of gigabytes."""
    prepare(fit.model, settings, parameters)
    if fit.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(fit.device)
    clock = Clock(fit.device)
    trainer = make_trainer(fit, rows, collate, loss, settings, [clock])
    trainer.args.max_steps = steps
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train()
    return clock


def matmul_tflops(device: torch.device, dtype: torch.dtype, rounds: int = 20) -> float:
    """The best of some products of large square matrices, in 10^12 operations per second."""
    width = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(rounds):
        started = now(device)
        left @ right
        best = min(best, now(device) - started)
    return 2 * width**3 / best / 1e12


def peak_memory_gib(device: torch.device) -> float:
    """Of the training, as the device's allocator saw it; of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str]:
    """Of Python and of what trains."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def common(size: str, clock: Clock, warm_up: int) -> dict[str, Any]:
    """The fields of `Report`, which every other report begins with."""
    return {
        "size": size,
        "device": device_name(clock.device),
        "versions": versions(),
        "seconds_per_step": clock.step(warm_up),
        "peak_memory_gib": peak_memory_gib(clock.device),
        "losses": clock.losses,
    }


def measure_each(head: str, names: Sequence[str], measure: Callable[[str], R]) -> str:
    """What a measurement prints: a table with a row per name, then all reports as JSON.

    Each begins with the memory of those before given back.
    """
    reports: list[R] = []
    for name in names:
        reports.append(measure(name))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    rows = "\n".join(report.row(reports[0]) for report in reports)
    return f"{head}\n{rows}\n\n{json.dumps([asdict(report) for report in reports])}"


def make_parser(
    method: str,
    description: str | None,
    sizes: Mapping[str, Any],
    rows: tuple[str, int, int],
    lr: float | None,
) -> ArgumentParser:
    """Options that every measurement has.

    Args:
        sizes: by name; the first is the default.
        rows: what its rows are called, how many different ones there are, and how many a step has.
        lr: None: the size's.
    """
    parser = ArgumentParser(prog=f"python -m methods.{method}.fullsize", description=description)
    name, count, batch = rows
    add = parser.add_argument
    add("--size", choices=sizes, default=next(iter(sizes)))
    add(f"--{name}", type=int, default=count, help=f"different ones, in turn (default: {count})")
    add("--batch-size", type=int, default=batch, help=f"{name} of a step (default: {batch})")
    add("--steps", type=int, default=12, help="optimizer steps (default: 12)")
    add("--warm-up", type=int, default=2, help="steps whose time does not count (default: 2)")
    usual = "the size's" if lr is None else f"{lr:g}"
    add("--lr", type=float, default=lr, help=f"learning rate (default: {usual})")
    add("--seed", type=int, default=0)
    parser.set_defaults(rows_option=name)
    return parser


def checked(parser: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """The options of a command line, refused where sizes do not fit each other."""
    options = parser.parse_args(arguments)
    if getattr(options, options.rows_option) % options.batch_size:
        parser.error(f"--{options.rows_option} must be a multiple of --batch-size")
    if options.steps <= options.warm_up:
        parser.error("--steps must be more than --warm-up")
    return options
