"""Which code stands behind what a run keeps: where the search for it begins, for each kind."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness import registry
from harness.code_keys import PLAYERS, Computation, named_in, of_plugin
from harness.models import adapters, loading

if TYPE_CHECKING:
    from harness.judges import Judge
    from harness.method import Method
    from harness.task import Task


def of_fit(method: "Method", name: str, base: Path) -> Computation:
    """Return what trains a method registered as `name`, and makes the rows for that."""
    return (
        of_plugin(method, *_entry_module("methods", name))
        | named_in(method.config.model_dump())
        | Computation(("harness.training",), alone=("harness.fitting",))
        | of_model(method.role, base)
    )


def of_predictions(task: "Task", model: Path) -> Computation:
    """Return what asks a model for its answers to a task."""
    found = of_task(task) | Computation((), alone=("harness.predicting",))
    for folder in (model, *map(loading.resolve, task.models())):
        found |= of_model(task.role, folder)
    return found


def of_task(task: "Task") -> Computation:
    """Return a task's format, with what its card names."""
    card = task.card
    named = named_in([card.format, card.options])
    return of_plugin(task, *_entry_module("tasks", card.name)) | named


def of_engine_scores(task: "Task", engine: str) -> Computation:
    """Return what has an engine score answers."""
    modules = (*_entry_module("engines", engine), "harness.engines")
    return of_task(task) | Computation(modules)


def of_verdicts(judge: "Judge") -> Computation:
    """Return what judges answers."""
    plugin = of_plugin(judge, *_entry_module("judges", judge.name))
    return plugin | Computation((), alone=("harness.judging",))


def of_adapters(model: Path) -> Computation:
    """Return the kinds of adapter that a model folder is made of, the last one first."""
    found = Computation(())
    while loading.is_adapter(model):
        found |= of_plugin(adapters.kind(model))
        model = loading.base_of(model)
    return found


def of_model(role: str | None, folder: Path) -> Computation:
    """Return what loads a model in a role, the kinds of its adapters included."""
    players = (PLAYERS[role],) if role else ()
    return Computation(("harness.models.loading", *players)) | of_adapters(folder)


def _entry_module(kind: str, name: str) -> tuple[str, ...]:
    """Return the module that a plugin's entry point names, if it is registered."""
    return (registry.find(kind, name).module,) if registry.registered(kind, name) else ()
