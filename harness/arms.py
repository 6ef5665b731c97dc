"""A method of a run with its config: the preset's, what the user changed, checked."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from harness.configs import flat
from harness.errors import HarnessError, complaint, suggestion
from harness.method import Method, MethodConfig, Preset
from harness.run_config import RunConfig
from harness.values import quoted


@dataclass(frozen=True)
class Arm:
    """A method with its config, base model and training set; trained once per seed."""

    name: str
    method: Method
    overrides: Mapping[str, Any]
    model: str
    dataset: str | None
    seeds: Sequence[int | None]

    @property
    def trains(self) -> bool:
        return self.method.trains


def make_arm(
    name: str, cls: type[Method], config: RunConfig, model: str, overrides: Mapping[str, Any]
) -> Arm:
    preset = cls.presets.get(config.profile)
    if preset is None and cls.trains:
        if not (config.model and config.dataset):
            raise HarnessError(
                f"method '{name}' has no profile '{config.profile}' "
                f"({', '.join(cls.presets) or 'it has none'}): give --model and --dataset."
            )
        preset = Preset(model=config.model, dataset=config.dataset)
    known = {key: overrides[key] for key in sorted(overrides) if _knows(cls.Config, key)}
    settings = flat(preset.config) if preset else {}
    start = _validated(name, cls.Config, settings)
    final = _validated(name, cls.Config, {**settings, **known})
    changed = {key: _at(final, key) for key in known if _at(final, key) != _at(start, key)}
    dataset = (config.dataset or preset.dataset) if cls.trains and preset else None
    seeds = config.seeds if cls.trains else [None]
    return Arm(name, cls(final), changed, model, dataset, seeds)


def _validated(name: str, cls: type[MethodConfig], settings: Mapping[str, Any]) -> MethodConfig:
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = value
    try:
        found = cls.model_validate(_over(cls.model_construct(), nested))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        # A validator's own words say enough, and what was given may be a secret.
        own = first["type"] == "value_error"
        got = "" if own else f" (got {quoted(first.get('input'))})"
        raise HarnessError(f"method '{name}': {where}: {complaint(first)}{got}.") from None
    _check_finite(name, found)
    return found


def _check_finite(name: str, config: MethodConfig) -> None:
    """Raise `HarnessError` for a text like `inf` that a config took for a number."""
    for key, value in flat(config.model_dump()).items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, float) and not isfinite(number) for number in numbers):
            raise HarnessError(f"method '{name}': {key}: {value} is not a finite number.")


def _over(default: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over a config, section by section."""
    out = default.model_dump()
    for key, value in given.items():
        inner = getattr(default, key, None)
        if isinstance(inner, BaseModel) and isinstance(value, Mapping):
            value = _over(inner, value)
        out[key] = value
    return out


def _fields(cls: type[BaseModel], prefix: str = "") -> list[str]:
    """All dotted names of a config; `name.*` where a field is a mapping with keys of its own."""
    names = []
    for name, info in cls.model_fields.items():
        names.append(f"{prefix}{name}")
        if get_origin(info.annotation) is dict:
            names.append(f"{prefix}{name}.*")
        for part in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if inspect.isclass(part) and issubclass(part, BaseModel):
                names += _fields(part, f"{prefix}{name}.")
    return names


def _knows(cls: type[BaseModel], key: str) -> bool:
    fields = _fields(cls)
    return key in fields or f"{key.rpartition('.')[0]}.*" in fields


def check_overrides(overrides: Mapping[str, Any], classes: Mapping[str, type[Method]]) -> None:
    """Each changed field must belong to at least one method of the run."""
    known = [field for cls in classes.values() for field in _fields(cls.Config)]
    for key in overrides:
        if not any(_knows(cls.Config, key) for cls in classes.values()):
            raise HarnessError(
                f"no setting '{key}' in {', '.join(classes)}. {suggestion(key, known)}"
                "`harness show METHOD` lists them."
            )


def _at(config: BaseModel, key: str) -> Any:
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
