"""Python modules as files: where one lies, what it imports, and what of it counts."""

import ast
import gc
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from harness.errors import PluginError
from harness.files import hash_file
from harness.schema import digest

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed distributions."""

APART = frozenset({"cards", "weights", "__pycache__"})
"""Folders in a package that are no part of its code: keys hold cards and weights by content."""

TEXT = re.compile(r"Constant\(value='([^'\\]*)'")
REFERENCE = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*):[A-Za-z_]\w*")
IMPORTED = re.compile(
    r"(?:attr|id)='(?:import_module|__import__)', ctx=Load\(\)\), args=\[Constant\(value='([\w.]+)'"
)
"""A module named in a call, in the text of a syntax tree."""
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")


@dataclass(frozen=True)
class Found:
    """A module that can be imported.

    file: None for a folder without `__init__.py`.
    installed: whether it lies where distributions are installed.
    """

    name: str
    file: Path | None
    package: bool
    installed: bool


@dataclass(frozen=True)
class Module:
    """What a module's source says.

    digest: hash of its syntax tree without docstrings and positions.
    imports: what its statements import, and the modules that strings name as `module:Name`; some
        are names in modules.
    words: its plain strings, and the parts of those that are paths.
    """

    found: Found
    digest: str
    imports: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


def find(name: str, tree: str | None = None) -> Found | None:
    """Find a module without importing it; None where there is none.

    A package in the folder `tree` goes before an installed one; without it, what is imported
    already goes before what would be.
    """
    loaded = None if tree else sys.modules.get(name)
    if isinstance(file := getattr(loaded, "__file__", None), str):
        return _found(name, Path(file), hasattr(loaded, "__path__"))
    return _located(name, tree, tuple(sys.path))


@cache
def _located(name: str, tree: str | None, path: tuple[str, ...]) -> Found | None:
    spec = _spec(name, tree, path)
    if spec is None:
        return None
    inside = list(spec.submodule_search_locations or ())
    if spec.has_location and spec.origin:
        return _found(name, Path(spec.origin), bool(inside))
    return Found(name, None, True, _installed(Path(inside[0]))) if inside else None


def _found(name: str, file: Path, package: bool) -> Found:
    return Found(name, file, package, _installed(file))


def _installed(path: Path) -> bool:
    return not INSTALLED.isdisjoint(path.parts)


@cache
def _spec(name: str, tree: str | None, path: tuple[str, ...]) -> ModuleSpec | None:
    above, _, last = name.rpartition(".")
    if above:
        parent = _spec(above, tree, path)
        inside = parent and parent.submodule_search_locations
        # By its last name: the whole one of a folder without `__init__.py` asks for its parent.
        return PathFinder.find_spec(last, list(inside)) if inside else None
    spec = PathFinder.find_spec(name, [tree]) if tree else None
    try:
        return spec or importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a loaded module without a spec
        return None


def read(found: Found, *, again: bool = False) -> Module:
    """Read a module, once in a process, or `again` where its file has changed since.

    Raises `PluginError` where its source cannot be read.
    """
    if not again or found.file is None:
        return _read(found, ())
    status = found.file.stat()
    return _read(found, (status.st_mtime_ns, status.st_size))


@cache
def _read(found: Found, state: tuple[int, ...]) -> Module:
    if found.file is None:
        return Module(found, "")
    if found.file.suffix != ".py":  # compiled
        return Module(found, hash_file(found.file))
    try:
        content = found.file.read_bytes()
        with _no_collection():
            tree = ast.parse(content)
            imports = set(_statements(tree, found, b"__doc__" in content))
            text = ast.dump(tree)
            texts = set(TEXT.findall(text))
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PluginError(f"{found.file}: cannot be read as Python source ({reason}).") from None
    imports |= {_absolute(name, found) for name in IMPORTED.findall(text)}
    imports |= {match[1] for each in texts if (match := REFERENCE.fullmatch(each))}
    words = {*texts, *(part for each in texts for part in each.split("/"))}
    return Module(found, digest(text), frozenset(imports), frozenset(words))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Run without the garbage collector, which takes as long as the parser and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _statements(node: ast.AST, found: Found, documented: bool) -> Iterator[str]:
    """Yield what the statements below a node import; remove strings that stand alone, unless they
    are `documented` (the module reads `__doc__`), and what only type checkers see."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(node, field, None)
        if not isinstance(block, list):
            continue
        if not documented:
            block[:] = [each for each in block if not _is_text(each)]
        for each in block:
            if isinstance(each, ast.If):
                _remove_unseen(each)
            yield from _imports(each, found)
            yield from _statements(each, found, documented)


def _is_text(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _remove_unseen(node: ast.If) -> None:
    """Empty the branch of an `if` that does not run."""
    condition = ast.unparse(node.test).replace("typing.", "")
    if condition == "TYPE_CHECKING":
        node.body.clear()
    elif condition == "not TYPE_CHECKING":
        node.orelse.clear()


def _imports(node: ast.stmt, found: Found) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = _absolute("." * node.level + (node.module or ""), found)
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)


def _absolute(name: str, found: Found) -> str:
    """Return a module's whole name where it begins with dots."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return name
    parts = found.name.split(".")
    here = parts[: len(parts) - level + found.package]
    return ".".join([*here, *filter(None, [bare])])


def data_files(modules: Mapping[str, Module]) -> dict[str, str]:
    """Return the hashes of the files beside the modules of packages that are not Python, by name.

    A folder below counts where one of these modules names it. Left out: the README and the
    pictures that it shows, cards, weights, hidden files.
    """
    words: dict[tuple[str, Path], set[str]] = {}
    for name, module in modules.items():
        package = name if module.found.package else name.rpartition(".")[0]
        if package and module.found.file is not None:
            words.setdefault((package, module.found.file.parent), set()).update(module.words)
    return {
        f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}": hash_file(path)
        for (package, folder), named in words.items()
        for path in _beside(folder, named)
    }


def _beside(folder: Path, named: set[str]) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        others = [each for each in entries if not each.name.endswith((".py", ".pyc", ".pyi"))]
    readmes = [Path(each.path) for each in others if each.name.startswith("README")]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in readmes]
    apart = {*readmes, *(folder / shown for text in texts for shown in PICTURE.findall(text))}
    for each in sorted(others, key=lambda entry: entry.name):
        path = Path(each.path)
        if each.name.startswith(".") or each.name in APART or path in apart:
            continue
        if each.is_file():
            yield path
        elif each.name in named and not (path / "__init__.py").exists():
            yield from _below(path)


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts):
            yield path


@cache
def version_of(distribution: str) -> str:
    """Return the installed version of a distribution, or `absent`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


@cache
def distribution(package: str) -> tuple[str, str] | None:
    """Return name and version of the distribution that brings an installed top-level package."""
    try:
        found = metadata.distribution(package)  # most have the package's name
        return found.name, found.version
    except metadata.PackageNotFoundError:
        pass
    module = find(package)
    place = module and module.file and module.file.parents[1 if module.package else 0]
    brings = re.compile(rf"^{re.escape(package)}(/|\.|$)", re.MULTILINE)
    for each in metadata.distributions(path=[str(place)]):
        if brings.search(each.read_text("top_level.txt") or each.read_text("RECORD") or ""):
            return each.name, each.version
    return None
