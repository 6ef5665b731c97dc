"""MoDULA's three stages, each with a folder of its own in the store.

    universal   the universal expert, on the run's dataset
    NAME        the domain expert NAME, on its own set; nothing of another domain counts
    router      the routers, on all sets, all experts frozen

A stage is found by what it depends on: an expert depends on the base, the universal expert (in the
forms that read it) and its own set, so a further domain leaves every other expert as it is, to the
bit.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import set_seed

from harness import processes
from harness.dataset import Dataset, EmbeddedDataset
from harness.files import write_atomic
from harness.items import fingerprint_rows
from harness.models import lifetime, loading, precision
from harness.opening import open_data
from harness.schema import Cost
from harness.settings import TrainSettings, full_precision, training_key
from harness.training import Fit, Stage, prepare
from methods.modula import checkpoint
from methods.modula.adapting import adapt, adapted, route
from methods.modula.config import Adapted, ModulaConfig
from methods.modula.costs import NOTE, total
from methods.modula.data import training_rows
from methods.modula.layers import ALL, ROUTER, UNIVERSAL
from methods.modula.step import answer_loss

GENERAL = "general"
"""MoLoRA's expert with the universal one's rank, so that both have as many parameters."""


def check_rows(fit: Fit, config: ModulaConfig) -> None:
    """Encode the rows of all stages before the first of them trains.

    Raises:
        DataError: with the place of a row that a stage would refuse.
    """
    universal, *domains = _sets(fit, config)
    stages = [(config.universal, [universal])] if config.form != "molora" else []
    stages += [(config.experts, [each]) for each in domains]
    for settings, sets in [*stages, (config.router, [universal, *domains])]:
        training_rows(fit, sets, config.data, settings.too_long)


def universal_stage(fit: Fit, config: ModulaConfig) -> Stage | None:
    """Stage 1; none in a form without a universal expert."""
    if config.form == "molora":
        return None
    inputs = {
        **_shared(config),
        "rank": config.ranks.universal,
        "train": training_key(config.universal),
    }

    def train(stage: Fit) -> None:
        # Without domains every form reads y = W0 x + B* A* x but "flan", which would weigh it.
        module = anew(stage)
        adapt(module, config.targets, "res", {}, config.ranks.universal, config.slope)
        _train(stage, [(stage.dataset, stage.rows)], config, config.universal, UNIVERSAL)
        save(stage, stage.folder / "checkpoint")

    return fit.stage(UNIVERSAL, inputs, train)


def expert_stages(fit: Fit, config: ModulaConfig, universal: Stage | None) -> dict[str, Stage]:
    """Stage 2 of every domain: one after the other, or `config.jobs` at a time in processes."""
    jobs = {name: _Expert(fit, config, name, universal) for name in config.data.sets}
    if config.jobs > 1 and len(jobs) > 1 and processes.count() == 1:
        spawn = get_context("spawn")
        with ProcessPoolExecutor(
            min(config.jobs, len(jobs)), spawn, _own_device, (spawn.Value("i", 0), config.jobs)
        ) as pool:
            list(pool.map(_Expert.run, [job.sendable() for job in jobs.values()]))
    return {name: job.run() for name, job in jobs.items()}


@dataclass(frozen=True)
class _Expert:
    """One domain's expert, to be trained here or in another process."""

    fit: Fit
    config: ModulaConfig
    name: str
    universal: Stage | None

    def sendable(self) -> "_Expert":
        """The same without what another process opens by itself."""
        empty = EmbeddedDataset("", {})
        bare: dict[str, Any] = {
            "model": None,
            "dataset": empty,
            "rows": (),
            "resolve": str,
            "report": _unheard,
        }
        return replace(self, fit=replace(self.fit, **bare))

    def run(self) -> Stage:
        config, name = self.config, self.name
        dataset = open_data(config.data.sets[name])
        reads = self.universal if config.form.startswith("res") else None
        rank = config.ranks.of(name)
        inputs = {
            **_shared(config),
            "form": config.form,
            "rank": rank,
            "reads": None if reads is None else reads.folder.name,
            "train": training_key(config.experts),
            "rows": fingerprint_rows(dataset.rows()),
        }

        def train(stage: Fit) -> None:
            module = anew(stage)
            _adapt(module, config, {name: rank})
            if reads is not None:
                checkpoint.load_universal(module, reads.folder / "checkpoint", _hash(stage))
            route(module, {name: 1.0})
            _train(stage, [(dataset, dataset.rows())], config, config.experts, name)
            if processes.is_main():
                checkpoint.save_expert(module, name, stage.folder, _hash(stage))

        return self.fit.stage(name, inputs, train)


def router_stage(
    fit: Fit, config: ModulaConfig, universal: Stage | None, experts: Mapping[str, Stage]
) -> Stage:
    """Stage 3: its checkpoint is the whole model."""
    found = {**({UNIVERSAL: universal} if universal else {}), **experts}
    inputs = {
        **_shared(config),
        "form": config.form,
        "reads": {name: stage.folder.name for name, stage in found.items()},
        "train": training_key(config.router),
    }

    def train(stage: Fit) -> None:
        anew(stage)
        assemble(stage, config, universal, experts)
        _train(stage, _sets(stage, config), config, config.router, ROUTER)
        save(stage, stage.folder / "checkpoint")

    return fit.stage(ROUTER, inputs, train)


def assemble(
    fit: Fit, config: ModulaConfig, universal: Stage | None, experts: Mapping[str, Stage]
) -> None:
    """Put all finished experts over the fit's model; routers at random, by the fit's seed."""
    module = fit.model.module
    set_seed(fit.seed)
    _adapt(module, config, {name: config.ranks.of(name) for name in experts})
    if universal is not None:
        checkpoint.load_universal(module, universal.folder / "checkpoint", _hash(fit))
    for name, stage in experts.items():
        path = stage.folder / "experts" / f"{name}.safetensors"
        checkpoint.load_expert(module, path, _hash(fit))


def save(fit: Fit, folder: Path) -> None:
    """Write the adapted model as a folder that names its base."""
    if processes.is_main():
        checkpoint.save(fit.model.module, folder, str(fit.base), _hash(fit))


def load(fit: Fit, stage: Stage) -> None:
    """Put a stage's whole checkpoint over the fit's model."""
    checkpoint.load(fit.model.module, stage.folder / "checkpoint", _hash(fit))


def joint_training(fit: Fit, config: Adapted, settings: TrainSettings) -> None:
    """All experts and the router at once, on all sets (MoLoRA)."""
    ranks = {GENERAL: config.ranks.universal}
    ranks |= {name: config.ranks.of(name) for name in config.data.sets}
    set_seed(fit.seed)
    adapt(fit.model.module, config.targets, "molora", ranks)
    _train(fit, _sets(fit, config), config, settings, ALL)


def plain_training(fit: Fit, config: Adapted, settings: TrainSettings) -> None:
    """One peft adapter on all sets (LoRA)."""
    sets = _sets(fit, config)
    rows, collate, tokens = training_rows(fit, sets, config.data, settings.too_long)
    fit.train(rows, collate, answer_loss(tokens), settings)


def total_cost(module: nn.Module, stages: Iterable[Stage]) -> Cost:
    """What stages took together; each trains parameters of its own."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    found = total(stage.cost for stage in stages)
    return found.model_copy(update={"total_parameters": parameters})


def note(fit: Fit, stages: Mapping[str, Stage]) -> None:
    """Write which stages a fit is made of, with what each took, beside its checkpoint."""
    if processes.is_main():
        said = {name: stage.model_dump(mode="json") for name, stage in stages.items()}
        write_atomic(fit.folder / NOTE, json.dumps(said, indent=1) + "\n")


def _train(
    fit: Fit,
    sets: list[tuple[Dataset, Any]],
    config: Adapted,
    settings: TrainSettings,
    part: str,
) -> None:
    """Train one part of an adapted model on rows of several sets."""
    rows, collate, tokens = training_rows(fit, sets, config.data, settings.too_long)
    chosen = parts(fit.model.module, part)
    fit.train(rows, collate, answer_loss(tokens), settings, parameters=chosen)


def prepare_part(model: Any, config: Adapted, section: str) -> None:
    """Make a base model ready for one of the trainings above, by the config's field."""
    ranks = {name: config.ranks.of(name) for name in config.data.sets}
    universal, settings = config.ranks.universal, getattr(config, section)
    if not isinstance(config, ModulaConfig):
        adapt(model.module, config.targets, "molora", {GENERAL: universal, **ranks})
        part = ALL
    elif section == "universal":
        adapt(model.module, config.targets, "res", {}, universal, config.slope)
        part = UNIVERSAL
    else:
        largest = max(ranks, key=lambda name: ranks[name])
        part = largest if section == "experts" else ROUTER
        _adapt(model.module, config, {part: ranks[part]} if section == "experts" else ranks)
    prepare(model, settings, parts(model.module, part))


def parts(module: nn.Module, name: str) -> list[nn.Parameter]:
    """The parameters of one part of an adapted model."""
    return [p for layer in adapted(module).values() for p in layer.part(name)]


def _adapt(module: nn.Module, config: ModulaConfig, ranks: Mapping[str, int]) -> None:
    adapt(module, config.targets, config.form, ranks, config.ranks.universal, config.slope)


def _sets(fit: Fit, config: Adapted) -> list[tuple[Dataset, Any]]:
    """The universal set and every domain's."""
    found = [(fit.dataset, fit.rows)]
    for name in config.data.sets.values():
        dataset = open_data(name)
        found.append((dataset, dataset.rows()))
    return found


def anew(stage: Fit) -> nn.Module:
    """Load the base model once more, as the stage's and alone in memory; what is drawn next is by
    the stage's seed."""
    stage.model = None
    lifetime.release()
    dtype = precision.dtype(precision.of_loading(stage.base, full_precision(stage.config)))
    stage.model = loading.load(stage.base, "causal-lm", dtype)
    set_seed(stage.seed)
    module: nn.Module = stage.model.module
    return module


def _hash(fit: Fit) -> str:
    return str(fit.inputs["base"])


def _shared(config: ModulaConfig) -> dict[str, Any]:
    """What every stage depends on."""
    data = config.data.model_dump(include={"limit", "max_length", "pack"})
    return {"targets": config.targets, "slope": config.slope, **data}


def _unheard(what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Progress of another process."""


def _own_device(numbers: Any, jobs: int) -> None:
    """Give each process a GPU of its own, or its share of the cores."""
    import os

    with numbers.get_lock():
        number = numbers.value
        numbers.value += 1
    if torch.cuda.device_count() > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % torch.cuda.device_count())
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
