"""What a run will do, worked out and checked before anything is loaded or trained."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness import processes, registry
from harness.arms import Arm, check_overrides, make_arm
from harness.configs import flat, read_value
from harness.errors import HarnessError, PluginError, suggestion
from harness.files import recorded_name
from harness.judges import Judge, open_judge
from harness.method import Method
from harness.opening import open_data, training_set
from harness.plan_checks import check_generation, check_metrics, check_names
from harness.run_config import RunConfig
from harness.schema import Source, TaskCard, TaskRef, digest
from harness.task import Item, Task, TaskGroup


@dataclass(frozen=True)
class Scored:
    """A task of a run with its items."""

    task: Task
    items: Sequence[Item]
    ref: TaskRef
    lab: bool
    judge: Judge | None = None
    """Who judges the answers, where they are judged."""


@dataclass(frozen=True)
class Plan:
    """A run: every arm is scored on every task."""

    config: RunConfig
    arms: Sequence[Arm]
    tasks: Sequence[Scored]


def make_plan(config: RunConfig) -> Plan:
    """Check a run and read its items; raises `HarnessError` for anything a user can mend."""
    processes.quiet_libraries()
    training_set.cache_clear()  # files may have changed since the last run of this process
    names = list(dict.fromkeys([config.baseline, *config.method]))
    for name in names:
        registry.find("methods", name)
    asked = task_names(config)
    stray = set(config.source) - set(asked)
    if stray:
        raise HarnessError(f"source for '{min(stray)}', which is not among the tasks of this run.")
    classes = {name: _method_class(name) for name in names}
    options = _options(config, asked)
    tasks = {name: task_with(name, options.get(name, {})) for name in asked}
    for name, cls in classes.items():
        _check_roles(name, cls, tasks)
    if (config.judge or config.judge_option) and not any(t.card.judge for t in tasks.values()):
        raise HarnessError(f"no task of this run is judged: {', '.join(tasks)}.")
    model = config.model or _default_model(config, classes, tasks)
    overrides = flat(config.set)
    check_overrides(overrides, classes)
    arms = [make_arm(name, classes[name], config, model, overrides) for name in names]
    check_generation(arms, list(tasks.values()))
    scored = [_scored(task, config) for task in tasks.values()]
    check_names(arms, open_data)
    return Plan(config, arms, scored)


def task_names(config: RunConfig) -> list[str]:
    """The tasks of a run, groups replaced by their members."""
    found: list[str] = []
    for name in config.tasks:
        task = registry.load("tasks", name)
        found += task.tasks(config.profile) if isinstance(task, TaskGroup) else [name]
    return list(dict.fromkeys(found))


def _method_class(name: str) -> type[Method]:
    cls = registry.load("methods", name)
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise HarnessError(
            f"method '{name}': '{registry.find('methods', name).value}' is not a subclass of "
            "harness.method.Method."
        )
    return cls


def _options(config: RunConfig, tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Changed options by task."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in flat(config.option).items():
        task, dot, field = key.partition(".")
        if not dot or task not in tasks:
            raise HarnessError(
                f"option '{key}': give TASK.FIELD=VALUE with a task of this run "
                f"({', '.join(tasks)})."
            )
        found.setdefault(task, {})[field] = value
    return found


def task_with(name: str, options: Mapping[str, Any]) -> Task:
    """The task of a name, with changed options; a text stays one where the card has a text."""
    task = registry.load("tasks", name)
    if inspect.isfunction(task):
        raise HarnessError(f"task '{name}' is a collection: name one of its tasks, {name}/NAME.")
    if not isinstance(task, Task):
        raise HarnessError(
            f"task '{name}': '{registry.find('tasks', name).value}' is not a harness.task.Task."
        )
    if not options:
        return task
    known = task.card.options
    for key in options:
        if key not in known:
            raise HarnessError(
                f"task '{name}' has no option '{key}'. {suggestion(key, known)}"
                f"It has {', '.join(known) or 'none'}."
            )
    read = {k: v if isinstance(known[k], str) else read_value(v) for k, v in options.items()}
    return type(task)(task.card.model_copy(update={"options": {**known, **read}}))


def _check_roles(name: str, cls: type[Method], tasks: Mapping[str, Task]) -> None:
    for task_name, task in tasks.items():
        if cls.role is not None and cls.role != task.role:
            fitting = [n for n, t in tasks.items() if t.role == cls.role]
            raise HarnessError(
                f"method '{name}' trains a {cls.role} model, task '{task_name}' scores a "
                f"{task.role} model."
                + (f" Tasks of this run for '{name}': {', '.join(fitting)}." if fitting else "")
            )


def _default_model(
    config: RunConfig, classes: Mapping[str, type[Method]], tasks: Mapping[str, Task]
) -> str:
    """The base model where the user names none: the methods' presets', else the tasks'."""
    found = {cls.presets[config.profile].model for cls in classes.values() if _has(cls, config)}
    if not found:
        cards = [task.card.models.get(config.profile) for task in tasks.values()]
        found = {name for name in cards if name}
    if len(found) != 1:
        reason = f"start from different ones: {', '.join(sorted(found))}" if found else "name none"
        raise HarnessError(
            f"which base model? The methods and tasks {reason} in profile '{config.profile}': "
            "give --model."
        )
    return found.pop()


def _has(cls: type[Method], config: RunConfig) -> bool:
    return config.profile in cls.presets


def scored_task(name: str, config: RunConfig) -> Scored:
    """One task of a run, by name, with its items."""
    registry.find("tasks", name)
    return _scored(task_with(name, _options(config, [name]).get(name, {})), config)


def _scored(task: Task, config: RunConfig) -> Scored:
    from harness.items import fingerprint, read_items
    from harness.models import loading

    for name in config.engine:
        registry.find("engines", name)
    card = task.card
    source = _source(card, config)
    data = open_data(source.dataset, source.revision)
    lab = data.lab or source == card.sources.get("lab")
    split = source.dev if config.split == "dev" else source.split
    if split is None and config.split in data.splits():
        split = config.split
    if config.split == "dev" and split is None:
        raise HarnessError(f"task '{card.name}' has no dev split in '{source.dataset}'.")
    items = read_items(task, data, split, config.limit)
    check_metrics(task, items)
    asked = fingerprint(items)
    plain = registry.load("tasks", card.name).card.options
    folders = [name for name in task.models() if recorded_name(name) != name]
    models = {name: loading.identity(loading.resolve(name)) for name in folders}
    judge = _judge(card, config)
    ref = TaskRef(
        name=card.name,
        version=card.version,
        card=task.identity(),
        source=recorded_name(source.dataset, asked),
        split=config.split,
        fingerprint=asked,
        rule=card.rule,
        options={
            key: recorded_name(value, models.get(value)) if isinstance(value, str) else value
            for key, value in card.options.items()
            if value != plain[key]
        },
        engines={
            name: recorded_name(setting, digest(task.engine_identity(name, setting)))
            for name, setting in config.engine.items()
        },
        judge={key: value for key, value in asdict(judge.identity()).items() if value}
        if judge
        else {},
    )
    return Scored(task, items, ref, lab, judge)


def _source(card: TaskCard, config: RunConfig) -> Source:
    """Where the items of a task come from: as the user says, else as the profile does."""
    given = config.source.get(card.name)
    if given is not None:
        known = (source for source in card.sources.values() if source.dataset == given)
        return next(known, Source(dataset=given))
    if config.profile in card.sources:
        return card.sources[config.profile]
    others = f" ({', '.join(card.sources)})" if card.sources else ""
    raise HarnessError(
        f"task '{card.name}' has no source in profile '{config.profile}'{others}: "
        f"give --source {card.name}=FILE."
    )


def _judge(card: TaskCard, config: RunConfig) -> Judge | None:
    """The judge of a task: the one that the user names, else the card's."""
    if card.judge is None:
        return None
    name = config.judge or card.judge
    if config.judge is None and not registry.registered("judges", name):
        known = registry.names("judges")
        raise PluginError(
            f"task '{card.name}': judge: no judge '{name}'. {suggestion(name, known)}"
            "`harness list judges` shows all."
        )
    return open_judge(name, config.judge_option, config.runs / "judges" / name)
