"""Cards: a task is a YAML file beside its package; it is read when somebody asks for it."""

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import PluginError, complaint, suggestion
from harness.reading import read_text

if TYPE_CHECKING:
    from pydantic import BaseModel

    from harness.schema import TaskCard
    from harness.task import Task

Model = TypeVar("Model", bound="BaseModel")


def cards(package_file: str) -> Callable[[str], "Task"]:
    """The `__getattr__` of a task package: attribute `pope` is the task of `cards/pope.yaml`.

    Args:
        package_file: the package's own `__file__`.

    Returns:
        A function from a card's name to its task; other names are an `AttributeError`, so that
        submodules are imported as ever. Nothing is read before it is called.
    """
    folder = Path(package_file).parent / "cards"

    @cache
    def attribute(name: str) -> "Task":
        path = folder / f"{name}.yaml"
        if name.startswith("_") or not path.is_file():
            raise AttributeError(f"package {folder.parent.name!r} has no card {name!r}")
        return load_task(path)

    return attribute


def load_task(path: Path) -> "Task":
    """The task that a card declares; raises `PluginError` naming the file and the field."""
    card = read_card(path)
    try:
        format_class = resolve(card.format)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(f"{_place(path)}: field 'format' is '{card.format}': {error}.") from error
    task: Task = format_class(card)
    return task


def read_card(path: Path) -> "TaskCard":
    """Read and validate a card; raises `PluginError` naming the file and the field."""
    import yaml
    from pydantic import ValidationError

    from harness.schema import TaskCard

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        raw = yaml.load(read_text(path), Loader=loader)
    except OSError as error:
        raise PluginError(f"{_place(path)}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PluginError(f"{_place(path)}: no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(raw, dict):
        raise PluginError(f"{_place(path)}: a card is a mapping, not a {type(raw).__name__}.")
    try:
        card = TaskCard.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        details = "; ".join(_problem(problem, TaskCard.model_fields) for problem in problems)
        raise PluginError(f"{_place(path)}: {details}.") from None
    if card.name != path.stem:
        raise PluginError(f"{_place(path)}: field 'name' is '{card.name}', not '{path.stem}'.")
    return card


def resolve(reference: str) -> Any:
    """The object that `module:attribute` names."""
    module, colon, attribute = reference.partition(":")
    if not colon or not module or not attribute:
        raise ValueError("it must read 'module:attribute'")
    return getattr(importlib.import_module(module), attribute)


def checked_options(options: type[Model], card: "TaskCard") -> Model:
    """A card's options as a model of pydantic's; raises `PluginError` naming the card and the one
    that is wrong."""
    from pydantic import ValidationError

    try:
        return options.model_validate(card.options)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, problem["loc"]))
        why = complaint(problem)
        if problem["type"] == "extra_forbidden":
            why = f"there is no such option. {suggestion(name, options.model_fields)}".strip()
        raise PluginError(f"task '{card.name}': option '{name}': {why.rstrip('.')}.") from None


def _problem(problem: Any, known: Any) -> str:
    """One pydantic error in words, with a near name for an unknown field."""
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown field '{field}'. {suggestion(field, known)}".strip().rstrip(".")
    if problem["type"] == "missing":
        return f"field '{field}' is missing"
    return f"field '{field}': {problem['msg']}"


def _place(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
