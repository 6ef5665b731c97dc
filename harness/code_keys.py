"""The code part of a key: the modules and packages that a computation can reach.

They are found by reading the sources, from the modules that define its plugins. A module is an
edge away where a statement imports it, anywhere in the file but under `TYPE_CHECKING`; where a
string names something in it (`package.module:Name`); where a string names a role, whose class it
defines; and where it is the package of a reached module. Sources count by their syntax tree, so
comments, docstrings and layout do not; distributions count by their version.

Sources are followed inside `harness`, `methods` and `tasks`, inside a plugin's own package, and
wherever no installed distribution tells by its version what the code is (an editable checkout, a
module on the path). With a package's modules count the files beside them that are not Python:
prompts, word lists, templates. Its cards do not, which keys hold by content, nor weights.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import PluginError
from harness.models import ROLES
from harness.module_files import Module, data_files, distribution, find, read, version_of
from harness.schema import digest

OURS = frozenset({"harness", "methods", "tasks"})
"""Packages that count by their sources wherever they are installed."""

IN_THE_KEY = frozenset({"harness.cards", "harness.opening", "harness.registry"})
"""Modules that do not count: a key holds what they return, cards, rows and plugins, by content."""

PLAYERS = {role: value.partition(":")[0] for role, value in ROLES.items()}
"""Role -> the module of the class that plays it."""

NOT_FOLLOWED = {
    "harness": frozenset({"harness.configs", "harness.pipeline"}),
    "harness.models": frozenset(PLAYERS.values()),
    "harness.models.checking": frozenset(PLAYERS.values()),
    "harness.models.generation_settings": frozenset(PLAYERS.values()),
    "harness.task": frozenset({"harness.scoring"}),
}
"""Module -> imports by which no computation goes on: `harness.run` is how a run begins, tables by
role name all where one is used, and every run computes its metrics anew."""

UNDER_TRANSFORMERS = (
    *("Jinja2", "accelerate", "numpy", "pillow", "safetensors", "sentencepiece", "tokenizers"),
    *("torch", "torchvision"),
)
"""Distributions that transformers imports by itself, out of sight of our sources."""

WITHOUT_EFFECT = frozenset({"filelock", "huggingface_hub", "rich", "typer"})
"""Distributions that lock files, download, print and read the command line: what comes of that is
in the key by content, or is no result."""


@dataclass(frozen=True)
class Computation:
    """Where the search for code begins.

    roots: modules that count with everything they reach.
    alone: modules that count by themselves: they hand a computation its inputs, which the key
        holds, and what else they import has no part in it.
    own: top-level packages that count by their sources, though they may be installed.
    """

    roots: tuple[str, ...]
    alone: tuple[str, ...] = ()
    own: frozenset[str] = OURS

    def __or__(self, other: "Computation") -> "Computation":
        """Return both together."""
        return Computation(
            tuple(dict.fromkeys(self.roots + other.roots)),
            tuple(dict.fromkeys(self.alone + other.alone)),
            self.own | other.own,
        )


@dataclass(frozen=True)
class Code:
    """What a computation reaches: hashes of modules and of files beside them by name, and the
    versions of distributions."""

    sources: Mapping[str, str]
    packages: Mapping[str, str]

    def key(self) -> dict[str, Any]:
        """Return its part of a key."""
        return {"code": digest(dict(self.sources)), "packages": dict(self.packages)}

    def within(self, packages: Iterable[str]) -> str:
        """Return the hash of the sources in some top-level packages alone."""
        tops = frozenset(packages)
        return digest({name: h for name, h in self.sources.items() if _top(name) in tops})


def of_plugin(plugin: object, *modules: str) -> Computation:
    """Return the modules that define a plugin, a class or an object: those of all classes that
    it inherits from. `modules` are further ones, such as the one that its entry point names.

    Raises `PluginError` where there is no file to read.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    names = [base.__module__ for base in cls.__mro__ if base.__module__ not in ("builtins", "abc")]
    for name in (cls.__module__, *modules):
        if find(name) is None:
            raise PluginError(
                f"{cls.__qualname__}: no source file of module '{name}': put it into a module that "
                "can be imported, since kept results depend on its code."
            )
    own = OURS | {_top(name) for name in (cls.__module__, *modules)}
    return Computation(tuple(dict.fromkeys([*modules, *names])), own=frozenset(own))


def named_in(value: Any) -> Computation:
    """Return the modules that strings in a value name as `module:Name`, as options of cards do."""
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        dotted = colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))
        return Computation((module,) if dotted else ())
    found = Computation(())
    for part in parts:
        found |= named_in(part)
    return found


def reached(computation: Computation, *, tree: Path | None = None) -> Code:
    """Return the code that a computation reaches.

    A process reads each file once, since what it has imported does not change either.

    Args:
        tree: a folder whose packages are read in place of the installed ones of the same names,
            as they are now.
    """
    if tree is not None:
        return _search(computation, str(tree))
    return _installed(computation, _loaded(computation))


def _loaded(computation: Computation) -> tuple[str, ...]:
    """Return the files of the roots and the path, which tell two packages of one name apart."""
    modules: list[ModuleType | None] = [sys.modules.get(name) for name in computation.roots]
    return (*(str(getattr(module, "__file__", "")) for module in modules), *sys.path)


@cache
def _installed(computation: Computation, loaded: tuple[str, ...]) -> Code:
    return _search(computation, None)


def _search(computation: Computation, tree: str | None) -> Code:
    again = tree is not None
    followed: dict[str, Module] = {}
    packages: dict[str, str] = {}
    waiting = list(computation.roots)
    while waiting:
        name = waiting.pop()
        if name in followed or _top(name) in sys.stdlib_module_names:
            continue
        found = find(name, tree)
        if found is None:
            continue
        top = _top(name)
        brings = distribution(top) if found.installed and top not in computation.own else None
        if brings is not None:
            packages |= [brings]
            continue
        followed[name] = read(found, again=again)
        waiting += _edges(name, followed[name])
    alone = {name: find(name, tree) for name in computation.alone}
    sources = {name: module.digest for name, module in followed.items()}
    sources |= {name: read(each, again=again).digest for name, each in alone.items() if each}
    sources |= data_files(followed)
    return Code(dict(sorted(sources.items())), _counting(packages))


def _edges(name: str, module: Module) -> list[str]:
    """Return the modules that one module reaches at once; some names are of no module."""
    parents = [name.rsplit(".", up)[0] for up in range(1, name.count(".") + 1)]
    roles = {PLAYERS[role] for role in PLAYERS.keys() & module.words}
    skipped = IN_THE_KEY | NOT_FOLLOWED.get(name, frozenset())
    return [*parents, *((module.imports | roles) - skipped)]


def _counting(packages: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of those that can change a result."""
    found = dict(packages)
    if "transformers" in found:
        found |= {name: version_of(name) for name in UNDER_TRANSFORMERS}
    return {name: found[name] for name in sorted(found) if name not in WITHOUT_EFFECT}


def _top(name: str) -> str:
    """Return the top-level package of a module, or of a file beside one."""
    return name.partition("/")[0].partition(".")[0]
