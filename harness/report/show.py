"""One plugin as text, for `harness show`."""

import inspect
from typing import Any

import yaml
from pydantic import BaseModel

from harness import registry
from harness.dataset import Dataset
from harness.engines import Engine
from harness.errors import PluginError
from harness.judges import Judge
from harness.method import Method
from harness.mixtures import Mixture
from harness.models.embedded import EmbeddedModel
from harness.registry import Plugin
from harness.shown import shown
from harness.task import Task, TaskGroup


def show_text(plugin: Plugin) -> str:
    """A plugin's card: what it is, where it comes from, what can be set.

    Raises:
        PluginError: what is registered is not a plugin of its kind.
    """
    loaded = plugin.load()
    _check_kind(plugin, loaded)
    origin = f"{plugin.distribution} {plugin.version}, {plugin.value}"
    head = f"{plugin.name} ({plugin.kind[:-1]}, {origin})"
    body = {
        "methods": _method,
        "tasks": _task,
        "datasets": _dataset,
        "models": _model,
        "engines": _engine,
        "judges": _judge,
    }
    return f"{shown(head)}\n{body[plugin.kind](loaded)}".rstrip()


def _check_kind(plugin: Plugin, loaded: Any) -> None:
    """Raise `PluginError` where a registered object is of another type than its kind has."""
    types: dict[str, tuple[type, ...]] = {
        "methods": (Method,),
        "tasks": (Task, TaskGroup),
        "datasets": (Dataset,),
        "models": (EmbeddedModel,),
        "engines": (Engine,),
        "judges": (Judge,),
    }
    wanted = types[plugin.kind]
    classes = plugin.kind in ("methods", "judges")
    collection = plugin.kind in registry.COLLECTED and inspect.isfunction(loaded)
    fits = (
        inspect.isclass(loaded) and issubclass(loaded, wanted)
        if classes
        else isinstance(loaded, wanted)
    )
    if not (fits or collection):
        name = " or ".join(f"{each.__module__}.{each.__qualname__}" for each in wanted)
        raise PluginError(
            f"{plugin.kind[:-1]} '{plugin.name}' of {plugin.distribution} {plugin.version}: "
            f"'{plugin.value}' is not {'a subclass' if classes else 'an instance'} of {name}."
        )


def _method(cls: Any) -> str:
    lines = [inspect.getdoc(cls) or "", "", f"role: {cls.role}", "config:"]
    lines += _settings(cls.Config, "  ")
    presets = {name: preset.model_dump() for name, preset in cls.presets.items()}
    return "\n".join([*lines, "presets:", _yaml(presets)])


def _settings(cls: type[BaseModel], indent: str) -> list[str]:
    lines = []
    for name, info in cls.model_fields.items():
        inner = type(info.default)
        if issubclass(inner, BaseModel):
            lines.append(f"{indent}{name}:")
            lines += _values(info.default, indent + "  ")
        else:
            note = f"  # {' '.join(info.description.split())}" if info.description else ""
            shown = "(must be given)" if info.is_required() else repr(info.default)
            lines.append(f"{indent}{name}: {shown}{note}")
    return lines


def _values(section: BaseModel, indent: str) -> list[str]:
    lines = []
    for name, info in type(section).model_fields.items():
        note = f"  # {' '.join(info.description.split())}" if info.description else ""
        lines.append(f"{indent}{name}: {getattr(section, name)!r}{note}")
    return lines


def _task(task: Any) -> str:
    if isinstance(task, TaskGroup):
        members = {profile: list(names) for profile, names in task.members.items()}
        return f"{task.summary}\n\nmembers by profile:\n{_yaml(members)}"
    if inspect.isfunction(task):  # a collection, see `registry.COLLECTED`
        summary = (inspect.getdoc(task) or "").partition("\n")[0]
        return f"{summary}\n\na collection of tasks: `harness show NAME/MEMBER` shows one"
    card = task.card.model_dump(exclude_defaults=True)
    return f"{inspect.getdoc(type(task)) or ''}\n\nrole: {task.role}\n{_yaml(card)}"


def _dataset(dataset: Any) -> str:
    """Splits, with their rows where they are made here: others may have to be downloaded."""
    lines = [inspect.getdoc(type(dataset)) or "", "", "splits:"]
    for name in dataset.splits():
        lines.append(f"  {name}: {len(dataset.rows(name)):,} rows" if dataset.lab else f"  {name}")
    if isinstance(dataset, Mixture):
        lines += ["parts:", *(f"  {source}" for source in dataset.sources)]
    return "\n".join(lines)


def _model(model: Any) -> str:
    from harness.models.loading import identity

    return "\n".join(
        [
            model.summary,
            "",
            f"role: {model.role}",
            f"folder: {model.folder}",
            f"weights: {identity(model.folder)}",
            f"built by: {model.builder} with seed {model.seed}",
        ]
    )


def _engine(engine: Any) -> str:
    from harness import engines

    place = engines.folder(engine) if engines.installed(engine) else "not installed"
    needs = ", ".join(engine.requirements)
    return f"{engine.summary}\n\nversion: {engine.version}\nneeds: {needs}\nfolder: {place}"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def _judge(judge: Any) -> str:
    settings = _settings(judge.Config, "  ")
    title = "settings:" if settings else "settings: none"
    return "\n".join([inspect.getdoc(judge) or "", "", title, *settings])
