"""The one trainer, on transformers.Trainer: what it logs, saves and resumes from."""

import logging
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import ceil, isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.utils.data import RandomSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.utils import SAFE_WEIGHTS_NAME

from harness import processes
from harness.errors import HarnessError
from harness.files import remove
from harness.models.checking import fill
from harness.models.precision import casts
from harness.models.pretrained import read_model
from harness.seals import damage, seal
from harness.settings import TrainSettings

Batch = Mapping[str, Any]
Loss = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]
"""(module, batch) -> scalar mean loss over the batch's rows, and scalars to log."""
Report = Callable[[str, int, int, Mapping[str, float]], None]
"""(what, done, of how many, figures) -> shown as progress."""
PART = "trained.safetensors"
"""What a checkpoint holds where only a part of the model trains."""
SCHEDULES = {"constant": "constant_with_warmup"}
"""Names of schedules in transformers, where they differ: its `constant` knows no warm-up."""


class Arguments(TrainingArguments):
    """The arguments of transformers' Trainer, with `warmup_steps` always a share of the steps."""

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Return how many steps have a rising rate, from 0 at the first: transformers takes a share
        of 1 for one step.

        Raises:
            HarnessError: where the only step of a training would have a rate of 0.
        """
        warmed = ceil(self.warmup_steps * num_training_steps)
        if warmed and num_training_steps == 1:
            raise HarnessError(
                f"train.warmup is {self.warmup_steps:g}, but there is one step in all, whose rate "
                "would be 0: set train.warmup=0, or train on more rows or epochs."
            )
        return warmed


class Rows(torch.utils.data.Dataset):
    """Rows of any kind as torch takes them."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class PlainTrainer(Trainer):
    """Takes the loss of a method; a loss is the mean of its batch, so accumulation divides it."""

    loss: Loss
    batch_size: int
    partial: bool = False
    """Whether checkpoints hold the weights that train alone."""
    loss_is_scaled_for_ga = False

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.model_accepts_loss_kwargs = False
        self._scalars: dict[str, list[Tensor]] = defaultdict(list)

    def _get_train_sampler(self, train_dataset: Any = None) -> RandomSampler:  # type: ignore[override]
        """Rows in random order, those left out of an epoch that fill no whole batch: else
        accumulation would end each epoch with a step of fewer rows."""
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        whole = len(rows) - len(rows) % self.batch_size
        return RandomSampler(rows, num_samples=whole)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Matrices and larger: transformers' own list has the scale of similarities in it."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def compute_loss(  # type: ignore[override]
        self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> Tensor:
        value, scalars = self.loss(model, inputs)
        for name, scalar in scalars.items():
            self._scalars[name].append(scalar.detach())
        return value

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        for name, values in self._scalars.items():
            logs[name] = torch.stack(values).float().mean().item()
        self._scalars.clear()
        super().log(logs, *arguments, **keywords)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Seal what was saved, when all processes have written their part of it."""
        super()._save_checkpoint(model, trial)
        processes.wait()
        if processes.is_main():
            seal(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}")

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.partial:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        module = self.accelerator.unwrap_model(self.model)
        trained = {name: weight.cpu() for name, weight in _training(module).items()}
        safetensors.save_file(trained, folder / PART)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Read weights that fit, or raise: the Trainer's own reading passes over names that differ
        with a warning, and whole models are read as transformers does, which renames some."""
        module = self.accelerator.unwrap_model(model or self.model)
        folder = Path(resume_from_checkpoint)
        if self.partial:
            fill(_training(module), safetensors.load_file(folder / PART), folder / PART)
        elif hasattr(module, "peft_config"):
            from harness.models import peft_adapters

            peft_adapters.fill(module, folder, trainable=True)
        elif hasattr(module, "save_pretrained"):
            saved = read_model(type(module), folder)  # fp32: some may be, whatever the first is
            module.load_state_dict(saved.state_dict())
        else:
            safetensors.load_model(module, folder / SAFE_WEIGHTS_NAME)

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """Tokens in place of the Trainer's guess: it sums them over processes and resumes."""
        masks = (mask for name, mask in inputs.items() if name.endswith("attention_mask"))
        return int(sum(mask.sum() for mask in masks))


def _training(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights that train, by name."""
    return {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}


class Progress(TrainerCallback):
    """Reports every step, and ends a training that diverged."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        figures = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        broken = [name for name, value in figures.items() if not isfinite(value)]
        if broken:
            raise HarnessError(
                f"training diverged: '{broken[0]}' is {figures[broken[0]]} at step "
                f"{state.global_step}: lower train.lr, or look at the loss."
            )
        self.report("train", state.global_step, state.max_steps, figures)


class Saving(TrainerCallback):
    """Saves a step where the last save is too long ago, and reports how large each one is."""

    def __init__(self, minutes: float, report: Report) -> None:
        self.seconds = 60 * minutes
        self.report = report

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.last = monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        due = monotonic() - self.last >= self.seconds
        if processes.agreed(due, args.device):  # clocks differ, and all must save the same step
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.last = monotonic()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        saved = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self.report("train", state.global_step, state.max_steps, {"saved_mib": saved / 2**20})


class EachEpoch(TrainerCallback):
    """Calls a function before every epoch, and once more where a resumed one goes on."""

    def __init__(self, function: Callable[[int], None]) -> None:
        self.function = function

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.function(int(state.epoch or 0))


def training_arguments(
    settings: TrainSettings, seed: int, folder: Path, device: torch.device
) -> Arguments:
    world = processes.count()
    share, rest = divmod(settings.batch_size, world)
    micro = min(settings.micro_batch, share)
    if rest or share % micro:
        raise HarnessError(
            f"a batch of {settings.batch_size} cannot be split into {world} process(es) with "
            f"micro-batches of {micro}: change train.batch_size or train.micro_batch."
        )
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:
        checkpointing = {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    return Arguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        learning_rate=settings.lr,
        lr_scheduler_type=SCHEDULES.get(settings.schedule, settings.schedule),
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        adam_epsilon=settings.eps,
        max_grad_norm=settings.max_grad_norm,
        bf16=casts(settings, device),
        **checkpointing,
        dataloader_drop_last=True,
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        report_to=[],
        disable_tqdm=True,
    )


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that is as it was written; later ones are deleted, with a word."""
    if processes.is_main():
        _remove_broken(folder)
    processes.wait()
    found = _saved(folder)
    return str(found[max(found)]) if found else None


def _remove_broken(folder: Path) -> None:
    """Delete what no training can resume from: what is damaged, or half written by a killed one."""
    broken = {path: damage(path) for path in _saved(folder).values()}
    for path, reason in broken.items():
        if reason is not None:
            remove(path)
    kept = _saved(folder)
    for path in folder.glob("*"):
        if path not in kept.values():
            remove(path)
    said = [f"{path} ({reason})" for path, reason in broken.items() if reason is not None]
    if said:
        start = f"after step {max(kept)}" if kept else "at its start"
        print(
            f"harness: not as it was written: {', '.join(said)}: the training goes on {start}.",
            file=sys.stderr,
        )


def _saved(folder: Path) -> dict[int, Path]:
    """The checkpoints of a training by their step."""
    found = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.glob("*"))
    return {int(name[1]): path for name, path in found if name}


logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
