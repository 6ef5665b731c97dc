"""Values that users write in YAML, on the command line or in Python: plain, finite, not endless."""

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

from harness.errors import HarnessError

DEEPEST = 50
"""Levels of lists and mappings in each other."""
MOST = 1_000_000
"""Values in all."""
LARGEST = 2**63
"""What the size of an integer stays below."""
HALF = re.compile("[\ud800-\udfff]")
"""Half of a character (a surrogate), which no file can be written with."""
BRACKET = re.compile(r"[\[\]{}]")
MOST_BRACKETS = 1000
"""Brackets open at once: the time that the package takes grows with their square."""
SHOWN = 60
"""Characters of a value that a message repeats."""


def read_yaml(text: str) -> Any:
    """Return a text's value by YAML, in which a date stays the text that it is.

    Raises:
        ValueError: in one line, where it is not YAML, has a key twice, or aliases without end.
    """
    if _brackets(text) > MOST_BRACKETS:
        raise ValueError("nested too deep")
    loader = _loader_class()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except Exception as error:  # the package raises many kinds: KeyError, IndexError, ...
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
        raise ValueError(reason[:200] or type(error).__name__) from None
    finally:
        loader.dispose()


def check_plain(value: Any, place: str, error: type[HarnessError] = HarnessError) -> None:
    """Raise an error of the user where a value is not one that a file of JSON could hold.

    Args:
        place: where it is written: `run.yaml`, `--set`; the message goes on with the dotted name.
        error: the kind of error to raise.
    """
    left = [MOST]
    problem = _problem(value, (), left)
    if problem:
        path, reason = problem
        where = ".".join(shortened(str(part)) for part in path)
        raise error(f"{place}{f': {where}' if where else ''}: {reason}.")


def quoted(value: Any) -> str:
    """Return a value as a message repeats it."""
    try:
        return shortened(repr(value))
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"


def shortened(text: str) -> str:
    """Return a text as a message repeats it."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _problem(value: Any, path: tuple[Any, ...], left: list[int]) -> tuple[Any, str] | None:
    """Return where a value is not plain and why, or None."""
    left[0] -= 1
    if left[0] < 0:
        return (), f"has more than {MOST:,} values: shorten it"
    if len(path) > DEEPEST:
        return path[:3], f"is nested deeper than {DEEPEST} levels"
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                return path, f"the key {quoted(key)} is not a string: write it in quotes"
            problem = _problem_of_text(key)
            found = ((path, f"a key {problem}") if problem else None) or _problem(
                inner, (*path, key), left
            )
            if found:
                return found
        return None
    if isinstance(value, list | tuple):
        found_in = (_problem(inner, (*path, index), left) for index, inner in enumerate(value))
        return next(filter(None, found_in), None)
    reason = _problem_of_one(value)
    return (path, reason) if reason else None


def _problem_of_one(value: Any) -> str:
    if isinstance(value, str):
        return _problem_of_text(value)
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is not a finite number"
    if isinstance(value, int):
        return "" if abs(value) < LARGEST else "the number has more than 64 bits"
    if value is None or isinstance(value, PurePath):
        return ""
    return f"a {type(value).__name__} is not a string, number, list or mapping"


def _problem_of_text(text: str) -> str:
    if "\x00" in text:
        return "holds a NUL character: remove it"
    if HALF.search(text):
        return "holds half of a character (a surrogate), or bytes that are not UTF-8"
    return ""


def _brackets(text: str) -> int:
    """Return the most brackets that are open at once, those in strings counted too."""
    depth = deepest = 0
    for found in BRACKET.finditer(text):
        depth += 1 if found[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


@cache
def _loader_class() -> Any:
    """YAML's plain types without dates; the package is imported when something is read."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if "timestamp" not in tag]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return Loader


def _expanded(node: Any, known: dict[int, int | None]) -> int:
    """Return how many values a node of YAML stands for, aliases counted each time.

    Raises:
        ValueError: a key is there twice, or the values have no end.
    """
    if node.id == "scalar":
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias stands for what it is a part of")
        return size
    known[id(node)] = None
    if node.id == "mapping":
        keys = [(key.tag, key.value) for key, _ in node.value if key.id == "scalar"]
        if len(set(keys)) < len(keys):
            twice = next(value for tag, value in keys if keys.count((tag, value)) > 1)
            raise ValueError(f"the key '{shortened(twice)}' is there twice")
    parts = node.value if node.id == "sequence" else [part for pair in node.value for part in pair]
    total = 1 + sum(_expanded(part, known) for part in parts)
    if total > MOST:
        raise ValueError(f"its aliases stand for more than {MOST:,} values")
    known[id(node)] = total
    return total
