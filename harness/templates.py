"""Templates in Flan's form: patterns through which a row becomes a prompt and its answer."""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.dataset import Row
from harness.errors import DataError, suggestion
from harness.reading import read_text

FIELD = re.compile(r"\{(\w+)\}")
"""What Flan takes for a field; any other brace is text."""

MAIN = "PATTERNS"
"""The group of a Flan file whose tasks go by their bare names."""


def _options(texts: Sequence[str]) -> str:
    return "OPTIONS:\n- " + "\n- ".join(texts)


def _dialog(turns: Sequence[str]) -> str:
    return "DIALOG:\n" + "\n- ".join(turns) + "\n- "


LISTS: dict[str, tuple[str, Callable[[Sequence[str]], str]]] = {
    "options_": ("options", _options),
    "options_str": ("options", _options),
    "dialog_": ("dialog", _dialog),
}
"""Field that a row may leave out -> the list it is made of, and how Flan writes it."""


@dataclass(frozen=True)
class Template:
    """A pair of patterns, in which `{field}` stands for what a row has under that name."""

    prompt: str
    answer: str
    place: str
    """Where it stands, for messages: `templates.json rte template 3`."""

    def render(self, row: Row, place: str) -> tuple[str, str]:
        """A row's prompt and answer; braces in its values are text.

        Args:
            row: texts or numbers by field; lists for those of `LISTS`.
            place: where the row stands, for messages.

        Raises:
            DataError: beginning with the template's place, where the row has no such field, holds
                nothing or no text there, or where prompt or answer comes out blank.
        """
        prompt, answer = (
            FIELD.sub(lambda found: self._value(found[1], row, place), pattern)
            for pattern in (self.prompt, self.answer)
        )
        for name, text in (("prompt", prompt), ("answer", answer)):
            if not text.strip():
                raise DataError(f"{self.place}: the {name} is blank for {place}.")
        return prompt, answer

    def _value(self, name: str, row: Row, place: str) -> str:
        where = f"{self.place}: field '{name}'"
        if name in row:
            return _text(row[name], where, place)
        made = ""
        if name in LISTS:
            source, write = LISTS[name]
            if source in row:
                return write(_texts(row[source], f"{where}, of '{source}',", place))
            made = f"It is made of a list '{source}'. "
        columns = list(map(str, row))
        near = suggestion(name, columns)
        raise DataError(f"{where} is not in {place}. {near}{made}It has: {', '.join(columns)}.")


def _texts(values: Any, where: str, place: str) -> list[str]:
    if not isinstance(values, list | tuple) or not values:
        raise DataError(f"{where} is no list in {place}, or an empty one.")
    return [_text(value, where, place) for value in values]


def _text(value: Any, where: str, place: str) -> str:
    if value is None or value != value:
        raise DataError(f"{where} is empty in {place}.")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where} is a {type(value).__name__} in {place}, not a text or number.")
    return str(value)


def template(prompt: Any, answer: Any, place: str) -> Template:
    """A checked template; raises `DataError` beginning with its place."""
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise DataError(f"{place}: prompt and answer are not both texts.")
    if not FIELD.search(answer):
        raise DataError(f"{place}: the answer '{answer}' has no {{field}}: all would be the same.")
    return Template(prompt, answer, place)


def read_templates(path: Path) -> dict[str, tuple[Template, ...]]:
    """A file of templates as Flan's: {group: {task: [[prompt, answer], ...]}}.

    Returns:
        Task -> its templates: `rte` of the group PATTERNS, `GROUP/rte` of another. What is no
        group (Flan's lists of headings) is left out.

    Raises:
        DataError: beginning with file, task and template.
    """
    groups = _json(path)
    if not isinstance(groups, dict) or not isinstance(groups.get(MAIN), dict):
        raise DataError(f'{path.name}: no templates: they stand as {{"{MAIN}": {{task: [...]}}}}.')
    return {
        task if group == MAIN else f"{group}/{task}": _task(pairs, f"{path.name} {task}")
        for group, tasks in groups.items()
        if isinstance(tasks, dict)
        for task, pairs in tasks.items()
    }


def find_templates(reference: str, folder: Path) -> tuple[Template, ...]:
    """The templates that `templates.json#task` names, the file against a folder."""
    name, _, task = reference.partition("#")
    tasks = read_templates(folder / os.path.expanduser(name))
    if task not in tasks:
        problem = f"no task '{task}'" if task else "which task? Write it after the file, as #TASK"
        has = ", ".join(list(tasks)[:8]) + (", ..." if len(tasks) > 8 else "")
        raise DataError(f"{name}: {problem}. {suggestion(task, tasks)}It has: {has}.")
    return tasks[task]


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path, "utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except json.JSONDecodeError as error:
        place = f"{path.name} line {error.lineno}"
        raise DataError(f"{place}: invalid JSON ({error.msg}).") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: cannot be read (not UTF-8).") from None
    except RecursionError:
        raise DataError(f"{path.name}: cannot be read (nested too deep).") from None
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{path.name}: invalid JSON ({error}).") from None


def _task(pairs: Any, place: str) -> tuple[Template, ...]:
    if not isinstance(pairs, list) or not pairs:
        raise DataError(f"{place}: has no list of [prompt, answer].")
    found = []
    for number, pair in enumerate(pairs, start=1):
        where = f"{place} template {number}"
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{where}: not a pair [prompt, answer].")
        found.append(template(pair[0], pair[1], where))
    return tuple(found)
