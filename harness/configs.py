"""Reading a run's config: a YAML file, the command line, Python, all with the same names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness.errors import HarnessError, suggestion
from harness.schema import RunConfig


def run_config(given: Mapping[str, Any], file: Path | None = None) -> RunConfig:
    """A validated config: what is given stands over what the file says.

    Raises:
        HarnessError: naming the file or option, the field and what it takes.
    """
    values = {**(_read(file) if file else {}), **given}
    for field in ("set", "source"):
        if file and field in given:
            values[field] = {**_read(file).get(field, {}), **given[field]}
    if isinstance(values.get("set"), Mapping):
        values["set"] = {key: _value(value) for key, value in values["set"].items()}
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


def _read(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HarnessError(f"{file}: no such config file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{file}: cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        raise HarnessError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise HarnessError(f"{file}: a config is a mapping of settings, not {values!r:.40}.")
    return values


def _value(value: Any) -> Any:
    """A value of the command line as YAML reads it; a file's values are already read."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
