"""Mistakes in cards and settings that are found before anything is loaded or trained."""

from collections.abc import Callable, Sequence

from harness.arms import Arm
from harness.dataset import Dataset
from harness.errors import HarnessError, PluginError, suggestion
from harness.task import Item, Task


def check_metrics(task: Task, items: Sequence[Item]) -> None:
    """Raise `PluginError` where a card names a metric that its format does not compute."""
    card = task.card
    try:
        known = task.metric_names(items[0])
    except HarnessError:
        raise
    except Exception:  # a stranger's score may need what only a model says: the run checks it again
        return
    for field, names in (("primary", [card.primary]), ("paired", card.paired)):
        for name in names:
            if name not in known:
                raise PluginError(
                    f"task '{card.name}': {field}: the card's metric '{name}' is none of its "
                    f"format's. {suggestion(name, known)}It has {', '.join(known)}."
                )


def check_generation(arms: Sequence[Arm], tasks: Sequence[Task]) -> None:
    """Raise `HarnessError` for a generation setting, of card or method, that no answer takes."""
    for task in tasks:
        if problem := task.generation_problem(task.card.generation):
            raise PluginError(f"task '{task.card.name}': generation: {problem}")
        for arm in arms:
            settings = {**task.card.generation, **arm.method.generation()}
            if problem := task.generation_problem(settings):
                raise HarnessError(
                    f"method '{arm.name}' changes how answers to task '{task.card.name}' are "
                    f"generated: {problem}"
                )


def check_names(arms: Sequence[Arm], open_data: Callable[[str], Dataset]) -> None:
    """Raise `HarnessError` for a model or dataset of a method that is not there.

    A name of the hub is not looked up here.
    """
    from harness.models import loading

    for arm in arms:
        method = arm.method
        for model in (arm.model, *(method.models() if arm.trains else ())):
            if not loading.on_hub(model):
                _named(arm, loading.resolve, model)
        for dataset in (arm.dataset, *(method.datasets() if arm.trains else ())):
            if dataset is not None:
                _named(arm, open_data, dataset)


def _named(arm: Arm, find: Callable[[str], object], name: str) -> None:
    try:
        find(name)
    except HarnessError as error:
        raise type(error)(f"method '{arm.name}': {error}") from None
