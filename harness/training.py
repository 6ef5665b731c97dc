"""One trainer for all methods, on transformers.Trainer: a method supplies rows, batch and loss."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback, set_seed

from harness import processes
from harness.dataset import Dataset, Row
from harness.errors import HarnessError
from harness.files import remove, write_atomic
from harness.method import MethodConfig
from harness.models import precision
from harness.models.batches import is_out_of_memory
from harness.schema import Cost, Strict, canonical_json
from harness.seals import check, is_sealed, seal
from harness.selection import Notes
from harness.settings import Lora, TrainSettings, too_large
from harness.store import JsonRow, Store, turn
from harness.trainable import adapted_layers, attached
from harness.trainable import check as check_trainable
from harness.trainer import (
    Batch,
    EachEpoch,
    Loss,
    PlainTrainer,
    Progress,
    Report,
    Rows,
    Saving,
    last_checkpoint,
    training_arguments,
)

Collate = Callable[[Sequence[Any]], Batch]
__all__ = ["Batch", "Collate", "Fit", "Loss", "Report", "Stage", "adapt", "make_trainer", "prepare"]


class Stage(Strict):
    """A finished stage: its folder, and what it took."""

    folder: Path
    cost: Cost
    seconds: float


def _silent(what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    pass


@dataclass
class Fit:
    """What a method works with while it fits.

    The engine makes one per method and seed. `inputs` is everything that this fit's data depend
    on beside its config: base weights, dataset, code.
    """

    config: MethodConfig
    model: Any
    dataset: Dataset
    rows: Sequence[Row]
    seed: int
    folder: Path
    store: Store
    inputs: Mapping[str, Any]
    resolve: Callable[[str], str]
    """Model name (embedded, folder, hub) -> what `from_pretrained` takes."""
    base: Path = Path()
    """Folder of the base model, for a part of the training that starts from it anew."""
    report: Report = _silent
    curves: list[dict[str, float]] = field(default_factory=list)
    cost: Cost | None = None
    save: Callable[[Path], None] | None = None
    """How the trained model is written, where not by `model.save`."""
    notes: Notes = field(init=False)
    """Which rows were left out or cut."""

    def __post_init__(self) -> None:
        self.notes = Notes(self.folder)

    @property
    def device(self) -> torch.device:
        return next(self.model.module.parameters()).device

    def mapped(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        items: Sequence[Any],
        function: Callable[[Sequence[Any], int], Sequence[JsonRow]],
        chunk: int = 256,
    ) -> list[JsonRow]:
        """One JSON row per item, computed once, shared out over processes: `Store.mapped`.

        `inputs` names what the rows depend on beside base model, dataset and code. Two methods
        with equal inputs get the same rows: so baselines train on identical data.
        """
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.report(kind, done, len(items), {})

        return self.store.mapped(
            kind, {**self.inputs, **inputs}, items, function, chunk=chunk, advance=advance
        )

    def train(
        self,
        rows: Sequence[Any],
        collate: Collate,
        loss: Loss,
        settings: TrainSettings,
        parameters: Sequence[nn.Parameter] | None = None,
        each_epoch: Callable[[int], None] | None = None,
    ) -> None:
        """Train the model on rows by a loss; resumes from this fit's last whole checkpoint.

        `parameters` are the ones that train, and then checkpoints hold nothing else; without them
        the settings choose: all weights but the frozen ones, or adapters. `each_epoch` is called
        with the number of every epoch before it, from 0, and again for one that is resumed.
        """
        if len(rows) < settings.batch_size:
            raise HarnessError(
                f"{len(rows)} training rows are fewer than one batch of {settings.batch_size}: "
                "give more data, or lower batch_size of this training."
            )
        set_seed(self.seed)  # adapters start at random
        prepare(self.model, settings, parameters)
        heard: list[TrainerCallback] = [
            Progress(self.report),
            Saving(settings.save_minutes, self.report),
        ]
        if each_epoch is not None:
            heard.append(EachEpoch(each_epoch))
        partial = parameters is not None
        trainer = make_trainer(self, rows, collate, loss, settings, heard, partial)
        set_seed(self.seed)
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(self.folder / "steps"))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise HarnessError(too_large(settings)) from error
        self.model.module = trainer.accelerator.unwrap_model(trainer.model)
        self.model.module.eval()
        self.curves += [row for row in trainer.state.log_history if "loss" in row]
        rows_seen = trainer.state.global_step * settings.batch_size
        cost = _cost(self.model, int(trainer.state.total_flos), rows_seen)
        self.cost = cost.model_copy(update=precision.of_training(self.model.module, settings))

    def stage(
        self, name: str, inputs: Mapping[str, Any], train: Callable[["Fit"], None]
    ) -> "Stage":
        """A part of the training that stands alone: done once for all fits that ask for it.

        Args:
            name: for progress, and part of what it depends on.
            inputs: what else it depends on beside base model, dataset, code and seed, JSON-able.
            train: (a fit with a folder of its own) -> trains and writes there what it made.
        """
        key = {**self.inputs, **inputs, "seed": self.seed, "world": processes.count()}
        folder = self.store.folder("stages", {**key, "stage": name})
        with turn(folder, lambda: is_sealed(folder)) as todo:
            if todo:
                self._train_stage(name, folder, train)
        check(folder)
        self.notes.take(folder)
        record = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
        return Stage(folder=folder, **record)

    def _train_stage(self, name: str, folder: Path, train: Callable[["Fit"], None]) -> None:
        def report(what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            self.report(f"{name} {what}", done, total, figures)

        started = time.perf_counter()
        fit = replace(self, folder=folder, report=report, curves=[], cost=None)
        fit.notes.said = self.notes.said
        try:
            train(fit)
        except HarnessError as error:
            raise type(error)(f"stage '{name}': {error}") from error
        if fit.cost is None:
            raise HarnessError(f"stage '{name}' ended without training.")
        if not processes.is_main():
            return
        rows = "".join(canonical_json(row) + "\n" for row in fit.curves)
        write_atomic(folder / "curves.jsonl", rows)
        seconds = round(time.perf_counter() - started, 3)
        record = {"cost": fit.cost.model_dump(mode="json"), "seconds": seconds}
        write_atomic(folder / "stage.json", json.dumps(record, indent=1) + "\n")
        seal(folder)
        remove(folder / "steps")


def make_trainer(
    fit: Fit,
    rows: Sequence[Any],
    collate: Collate,
    loss: Loss,
    settings: TrainSettings,
    callbacks: Sequence[TrainerCallback],
    partial: bool = False,
) -> PlainTrainer:
    """The trainer of a fit's prepared model; its checkpoints go to the fit's folder."""
    trainer = PlainTrainer(
        model=fit.model.module,
        args=training_arguments(settings, fit.seed, fit.folder / "steps", fit.device),
        train_dataset=Rows(rows),
        data_collator=collate,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.loss = loss
    trainer.batch_size = settings.batch_size
    trainer.partial = partial
    return trainer


def prepare(
    model: Any, settings: TrainSettings, parameters: Sequence[nn.Parameter] | None = None
) -> None:
    """Choose what trains: these parameters; else adapters, or all weights but the frozen parts.

    What trains becomes fp32; where all weights may train, the frozen parts too, so that the model
    has one precision when it is saved and scored.
    """
    module = model.module
    if parameters is not None:
        module.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        precision.widen(parameters)
        return
    check_trainable(module, settings)
    if settings.lora is not None:
        model.module = module = adapt(module, settings.lora)
    else:
        module.requires_grad_(True)
        precision.widen_model(module)
    precision.widen(p for p in module.parameters() if p.requires_grad)
    for name, parameter in module.named_parameters():
        if any(part in name for part in settings.freeze):
            parameter.requires_grad_(False)


def adapt(module: nn.Module, lora: Lora) -> nn.Module:
    """The module with LoRA adapters (peft), all else frozen."""
    from peft import LoraConfig

    adapted_layers(module, lora)
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets
    )
    return attached(module, config)


def _cost(model: Any, tokens: int, rows: int) -> Cost:
    """Operations by the usual count: 2 per weight and token forward, 2 backward through the
    activations, 2 for the gradient of each trained weight.

    An estimate is not worth a training: what a model does not let us count is left out, and named.
    """
    total, trainable = _counts(model.module.parameters())
    read = operations = 0
    uncounted = "" if tokens else "tokens: the batches have no attention_mask"
    try:
        for weights, seen in model.readers(tokens, rows):
            of_all, of_trained = _counts(weights)
            read += seen
            operations += seen * (4 * of_all + 2 * of_trained)
    except Exception as error:  # a model of another's may lack anything
        read, operations = tokens, 0
        reason = " ".join(str(error).split())[:120]
        uncounted = f"operations, and tokens that are no text: {reason}"
    return Cost(
        total_parameters=total,
        trainable_parameters=trainable,
        train_tokens=read,
        train_flops=float(operations),
        uncounted=uncounted,
    )


def _counts(weights: Iterable[nn.Parameter]) -> tuple[int, int]:
    """How many numbers weights have, and those that train."""
    sizes = [(each.numel(), each.requires_grad) for each in weights]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
