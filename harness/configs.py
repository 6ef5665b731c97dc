"""Reading a run's config: a YAML file, the command line, Python, all with the same names."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import HarnessError, suggestion
from harness.reading import read_text
from harness.schema import RunConfig

POWER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""Numbers such as 1e-4, which are texts to YAML 1.1."""


def run_config(given: Mapping[str, Any], file: Path | None = None) -> RunConfig:
    """A validated config: what is given stands over what the file says.

    Raises:
        HarnessError: naming the file or option, the field and what it takes.
    """
    said = _read(file) if file else {}
    values = {**said, **given}
    for field in ("set", "option", "source", "judge_option"):
        if isinstance(values.get(field), Mapping) and isinstance(said.get(field), Mapping):
            values[field] = {**flat(said[field]), **flat(values[field])}
    if isinstance(values.get("option"), Mapping):
        values["option"] = {key: _said(value) for key, value in flat(values["option"]).items()}
    if isinstance(values.get("judge_option"), Mapping):
        given_judge = values["judge_option"]
        values["judge_option"] = {key: read_value(value) for key, value in given_judge.items()}
    if isinstance(values.get("set"), Mapping):
        values["set"] = {key: read_value(value) for key, value in flat(values["set"]).items()}
        _check_finite(values["set"])
    place = f"{file}: " if file else ""
    for field in values:
        if field not in RunConfig.model_fields:
            raise HarnessError(
                f"{place}no setting '{field}'. {suggestion(field, RunConfig.model_fields)}"
                f"There are {', '.join(RunConfig.model_fields)}."
            )
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise HarnessError(f"{place}'{field}' is missing: give --{field}.") from None
        raise HarnessError(f"{place}{field}: {first['msg']} (got {first['input']!r}).") from None


def _check_finite(settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise HarnessError(f"set {key}: {value} is not a finite number.")


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(file))
    except FileNotFoundError:
        raise HarnessError(f"{file}: no such config file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{file}: cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        raise HarnessError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise HarnessError(f"{file}: a config is a mapping of settings, not {values!r:.40}.")
    return values


def read_value(value: Any) -> Any:
    """A value of the command line as YAML reads it; a file's values are already read."""
    if not isinstance(value, str):
        return value
    if POWER.fullmatch(value):
        return float(value)
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _said(value: Any) -> str:
    """An option of a card as the command line says it: whether it is a text is up to the card."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested or dotted settings as dotted ones: so all ways to say a thing are one config."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
