"""Reading a run's config: a YAML file, the command line, Python, all with the same names."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import HarnessError, complaint, suggestion
from harness.reading import read_text
from harness.run_config import RunConfig
from harness.values import check_plain, quoted, read_yaml

POWER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""Numbers such as 1e-4, which are texts to YAML 1.1."""


def run_config(given: Mapping[str, Any], file: Path | None = None) -> RunConfig:
    """A validated config: what is given stands over what the file says.

    Raises:
        HarnessError: naming the file or option, the field and what it takes.
    """
    said = _read(file) if file else {}
    place = f"{file}: " if file else ""
    for field in {**said, **given}:
        if field not in RunConfig.model_fields:
            raise HarnessError(
                f"{place}no setting '{field}'. {suggestion(field, RunConfig.model_fields)}"
                f"There are {', '.join(RunConfig.model_fields)}."
            )
    for field, value in given.items():
        check_plain(value, field)
    values = {**said, **given}
    for field in ("set", "option", "source", "judge_option"):
        if isinstance(values.get(field), Mapping) and isinstance(said.get(field), Mapping):
            values[field] = {**flat(said[field]), **flat(values[field])}
    if isinstance(values.get("option"), Mapping):
        values["option"] = {key: _said(value) for key, value in flat(values["option"]).items()}
    if isinstance(values.get("judge_option"), Mapping):
        values["judge_option"] = _read_values("judge_option", values["judge_option"])
    if isinstance(values.get("set"), Mapping):
        values["set"] = _read_values("set", flat(values["set"]))
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise HarnessError(f"{place}'{field}' is missing: give --{field}.") from None
        got = quoted(first["input"])
        raise HarnessError(f"{place}{field}: {complaint(first)} (got {got}).") from None


def _read_values(field: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of the command line read, all of them plain."""
    found = {key: read_value(value) for key, value in settings.items()}
    for key, value in found.items():
        check_plain(value, f"{field} {key}")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        values = read_yaml(read_text(file))
    except FileNotFoundError:
        raise HarnessError(f"{file}: no such config file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{file}: cannot be read ({error}).") from None
    except ValueError as error:
        raise HarnessError(f"{file}: not YAML: {error}.") from None
    check_plain(values, str(file))
    if not isinstance(values, dict):
        got = quoted(values)
        raise HarnessError(f"{file}: a config is a mapping of settings, not {got}.")
    return values


def read_value(value: Any) -> Any:
    """Return a value of the command line as YAML reads it, or the text itself where it is not YAML;
    a file's values are already read."""
    if not isinstance(value, str):
        return value
    if POWER.fullmatch(value):
        return float(value)
    try:
        return read_yaml(value)
    except ValueError:
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
