"""Cards: a task is a YAML file beside its package; it is read when somebody asks for it."""

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeVar

from harness import registry
from harness.errors import PluginError, complaint, suggestion
from harness.reading import read_text
from harness.values import check_plain, quoted, read_yaml, shortened

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
    from harness.task import Task

    card = read_card(path)
    place = f"{_place(path)}: field 'format'"
    format_class = resolve(card.format, place)
    if not (isinstance(format_class, type) and issubclass(format_class, Task)):
        raise PluginError(f"{place} is '{card.format}': it is not a class of tasks.")
    return format_class(card)


def read_card(path: Path) -> "TaskCard":
    """Read and validate a card; raises `PluginError` naming the file and the field."""
    from pydantic import ValidationError

    from harness.schema import TaskCard

    try:
        raw = read_yaml(read_text(path))
    except OSError as error:
        raise PluginError(f"{_place(path)}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise PluginError(f"{_place(path)}: not YAML: {error}.") from None
    check_plain(raw, _place(path), PluginError)
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


def resolve(reference: str, place: str) -> Any:
    """Return the object that `module:attribute` names, in a package that registers plugins.

    Args:
        reference: of a card or of an option.
        place: where it is written, for errors.

    Raises:
        PluginError: nothing is there, or it is elsewhere: what a card or an option names is called.
    """
    module, colon, attribute = reference.partition(":")
    try:
        if not colon or not module or not attribute:
            raise ValueError("it must read 'module:attribute'")
        if module.partition(".")[0] not in registry.packages():
            raise ValueError("it is not in a package that registers plugins of harness")
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(f"{place} is '{shortened(reference)}': {error}.") from error


def check_placeholders(text: str, known: Sequence[str], where: str) -> None:
    """Raise `PluginError` where a text of a card has placeholders that are never filled.

    Args:
        known: names of the fields that are: `question` for `{question}`.
        where: card and field, for the message: `task 'pope': prompt`.
    """
    if problem := placeholder_problem(text, known):
        raise PluginError(f"{where}: {problem}")


def placeholder_problem(text: str, known: Sequence[str]) -> str:
    """Return what is wrong with the placeholders of a text, or an empty string."""
    holds = f"It may hold {', '.join(f'{{{name}}}' for name in known)}; write {{{{ for a brace."
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        return f"{error} in {quoted(text)}. {holds}"
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in known:
            return f"no field '{name}'. {suggestion(name, known)}{holds}"
        if spec or conversion:
            return f"'{name}' has a format or conversion of its own. {holds}"
    return ""


def checked_function(card: "TaskCard", option: str, reference: str) -> Any:
    """Return the function that an option names as `module:function`; raises `PluginError` naming
    the card and the option."""
    place = f"task '{card.name}': option '{option}'"
    found = resolve(reference, place)
    if not callable(found):
        raise PluginError(f"{place}: '{shortened(reference)}' is not a function.")
    return found


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
