"""Plugins by name, from entry points: listed without an import, loaded on first use."""

import ast
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, PluginError, suggestion
from harness.shown import shown

KINDS = ("methods", "tasks", "datasets", "models", "engines", "judges")
"""What can be listed; each is the entry-point group `harness.<kind>`."""

COLLECTED = ("tasks",)
"""Kinds of which one plugin may stand for many, by names behind a slash."""

DISTRIBUTION = "harness"
HOME = Path(__file__).resolve().parent.parent
"""Where our own `methods` and `tasks` stand, beside the engine."""


@dataclass(frozen=True)
class Plugin:
    """A registered name: where its object is and which distribution brought it."""

    kind: str
    name: str
    value: str
    distribution: str
    version: str
    member: str = ""
    """Of a collection: what stands behind the slash of `lm_eval/gsm8k`."""

    @property
    def module(self) -> str:
        return self.value.partition(":")[0]

    @property
    def attribute(self) -> str:
        return self.value.partition(":")[2]

    def load(self) -> Any:
        """Import the plugin's object; raises `PluginError` with the plugin's own error."""
        _check_not_hidden(self)
        try:
            found = getattr(importlib.import_module(self.module), self.attribute)
            if not self.member:
                return found
            if not callable(found):
                raise PluginError(f"no {self.kind[:-1]} '{self.name}': it is no collection.")
            return found(self.member)
        except HarnessError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.kind[:-1]} '{self.name}' of {self.distribution} {self.version} cannot be "
                f"loaded from '{self.value}': {type(error).__name__}: {_one_line(error)}"
            ) from error

    def summary(self) -> str:
        """First line of the plugin's documentation, read without importing it.

        A task's is the `summary` of its card, anything else's the docstring of its class or the
        comment-free first line of its module's.
        """
        try:
            _check_not_hidden(self)
        except PluginError as error:
            return f"broken: {error}"
        spec = _find(self.module)
        if spec is None or spec.origin is None:
            return f"broken: no module '{self.module}'"
        origin = Path(spec.origin)
        card = _card(origin, self.attribute)
        try:
            if origin.name == "__init__.py" and card.exists():
                return _card_line(card, "summary")
            tree = ast.parse(origin.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError) as error:
            return f"broken: {origin}: {_one_line(error)}"
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == self.attribute:
                return _first_line(ast.get_docstring(node))
            if isinstance(node, ast.Assign) and self.attribute in map(ast.unparse, node.targets):
                for keyword in getattr(node.value, "keywords", []):
                    if keyword.arg == "summary" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
        return _first_line(ast.get_docstring(tree))


@cache
def _entry_points() -> Any:
    """Of all distributions, whose metadata are read once."""
    return entry_points()


@cache
def _registered(kind: str) -> Mapping[str, tuple[Plugin, ...]]:
    found: dict[str, dict[str, Plugin]] = {}
    for point in _entry_points().select(group=f"harness.{kind}"):
        distribution = point.dist.name if point.dist else "?"
        version = point.dist.version if point.dist else "?"
        plugin = Plugin(kind, point.name, point.value, distribution, version)
        found.setdefault(point.name, {})[f"{distribution} {point.value}"] = plugin
    return {name: tuple(found[name][key] for key in sorted(found[name])) for name in sorted(found)}


def forget() -> None:
    """Look for plugins anew, where something was installed since."""
    _entry_points.cache_clear()
    _registered.cache_clear()


def names(kind: str) -> list[str]:
    """All registered names of a kind, sorted."""
    return list(_registered(kind))


def plugins(kind: str) -> list[Plugin]:
    """All registered plugins of a kind, sorted by name; of one name there may be several."""
    return [plugin for group in _registered(kind).values() for plugin in group]


def packages() -> frozenset[str]:
    """Return the top-level packages that registered plugins are in, and harness itself."""
    tops = {plugin.module.partition(".")[0] for kind in KINDS for plugin in plugins(kind)}
    return frozenset({DISTRIBUTION, *tops})


def find(kind: str, name: str) -> Plugin:
    """The plugin of a name; unknown names get a suggestion, ambiguous ones an error.

    Where the task `lm_eval` is registered, `lm_eval/gsm8k` is a member of that collection: its
    object is what the registered one returns when it is called with `gsm8k`.
    """
    registered = _registered(kind)
    collection, _, member = name.partition("/")
    if (name in registered or collection in registered) and shown(name) != name:
        raise PluginError(
            f"{kind[:-1]} '{name}' has control characters in its name, which would name folders: "
            "it cannot be used."
        )
    if kind in COLLECTED and name not in registered and member and collection in registered:
        return replace(find(kind, collection), name=name, member=member)
    if name not in registered:
        raise PluginError(
            f"no {kind[:-1]} '{name}'. {suggestion(name, registered)}"
            f"`harness list {kind}` shows all {len(registered)}."
        )
    first, *others = registered[name]
    if others:
        owners = " and ".join(f"{p.distribution} {p.version} ({p.value})" for p in registered[name])
        raise PluginError(
            f"{kind[:-1]} '{name}' is brought by {owners}: uninstall one of them, or rename it."
        )
    return first


def load(kind: str, name: str) -> Any:
    """The object registered under a name."""
    return find(kind, name).load()


def registered(kind: str, name: str) -> bool:
    """Whether a name is registered at all, or is one of a collection."""
    known = _registered(kind)
    member = kind in COLLECTED and "/" in name
    return name in known or (member and name.partition("/")[0] in known)


def _check_not_hidden(plugin: Plugin) -> None:
    """Our packages have common names: say so where another one is found in their place."""
    if plugin.distribution != DISTRIBUTION:
        return
    top = plugin.module.partition(".")[0]
    spec = _find(top)
    found = Path(spec.origin) if spec and spec.origin else None
    if found is not None and HOME not in found.resolve().parents:
        raise PluginError(
            f"{plugin.kind[:-1]} '{plugin.name}' needs the package '{top}' of harness, but "
            f"{found} was found in its place: rename that file or start elsewhere."
        )


def _find(module: str) -> ModuleSpec | None:
    """The spec of a dotted module without importing its parents."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def family(task: str) -> str:
    """The family of a registered task, read from its card; empty where there is none to be read."""
    try:
        plugin = find("tasks", task)
        spec = _find(plugin.module)
        return (
            _card_line(_card(Path(spec.origin or ""), plugin.attribute), "family") if spec else ""
        )
    except (HarnessError, OSError, UnicodeDecodeError):
        return ""


def _card(origin: Path, name: str) -> Path:
    """Where the card of a task lies that a module gives by a name."""
    return origin.parent / "cards" / f"{name}.yaml"


def _card_line(card: Path, key: str) -> str:
    """A line of a card; cards are flat enough to be listed without a YAML parser."""
    for line in card.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return line.removeprefix(f"{key}:").strip().strip("\"'")
    return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
