"""Who may know whom, read from the imports; and what a start may load."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("harness", "methods", "tasks")
GROUND = ("shown", "schema", "errors", "proportions", "stats", "files", "reading")
IMPURE = {"io", "os", "pathlib", "shutil", "subprocess", "tempfile", "transformers", "socket"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; relative ones resolved."""
    here = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [above, node.module]))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def offences(room: str, forbidden) -> list[str]:
    return [
        f"{name_of(path)} imports {module}"
        for path in files(room)
        for module in imports(path)
        if forbidden(name_of(path), module)
    ]


def of(module: str, room: str) -> str | None:
    """Which method or family of a room a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == room and len(parts) > 1 else None


def subpackages(room: str) -> set[str]:
    return {path.name for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()}


def test_the_rooms_are_there():
    assert all(len(files(room)) > 3 for room in ROOMS)
    assert "aspo" in subpackages("methods")
    assert "multimodal" in subpackages("tasks")


def test_imports_are_read():
    plugin = set(imports(ROOT / "methods" / "aspo" / "plugin.py"))
    assert {"harness.method", "methods.aspo.config", "methods.aspo.data"} <= plugin


def test_the_engine_imports_neither_methods_nor_tasks():
    assert not offences(
        "harness", lambda _, module: within(module, "methods") or within(module, "tasks")
    )


def test_methods_and_tasks_do_not_import_each_other():
    assert not offences("methods", lambda _, module: within(module, "tasks"))
    assert not offences("tasks", lambda _, module: within(module, "methods"))


@pytest.mark.parametrize("room", ["methods", "tasks"])
def test_methods_and_families_do_not_import_their_like(room):
    parts = subpackages(room)

    def foreign(name: str, module: str) -> bool:
        own, other = of(name, room), of(module, room)
        return other in parts and other != own

    assert not offences(room, foreign)


def test_the_ground_floor_imports_nothing_above_it():
    allowed = {f"harness.{name}" for name in GROUND}

    def above(name: str, module: str) -> bool:
        if name not in allowed or not within(module, "harness"):
            return False
        return not any(within(module, each) for each in allowed)

    assert not offences("harness", above)


def test_nobody_imports_the_command_line():
    def cli(name: str, module: str) -> bool:
        return within(module, "harness.cli") and name != "harness.__main__"

    assert not [offence for room in ROOMS for offence in offences(room, cli)]


PURE = [
    path
    for room in ROOMS
    for path in files(room)
    if path.name in ("loss.py", "layers.py", "score.py") or path == ROOT / "harness/losses.py"
]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_losses_layers_and_scores_are_pure(path):
    modules = set(imports(path))
    assert not {module.partition(".")[0] for module in modules} & IMPURE
    assert not [m for m in modules if within(m, "harness.training") or m.endswith(".config")]
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert not {"open", "print", "input"} & set(calls)
    assert not [call for call in calls if call.rpartition(".")[2] in ("cuda", "cpu", "write_text")]


HEAVY = {"torch", "transformers", "numpy", "scipy", "peft", "accelerate", "PIL", "rich"}
LOADED = "import sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
COMMAND = f"""
import sys
sys.argv = ["harness", *sys.argv[1:]]
from harness.cli import main
try:
    main()
finally:
    {LOADED.replace("import sys, json; ", "import json; ")}
"""


def loaded(code: str, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (f"import harness; {LOADED}", []),
        (COMMAND, ["--help"]),
        (COMMAND, ["run", "--help"]),
        (COMMAND, ["list", "tasks"]),
        (COMMAND, ["list", "methods", "--json"]),
        (COMMAND, ["run", "--method", "aspo", "--tasks", "mmbnch"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_start_loads_nothing_heavy_and_no_plugin(code, arguments):
    modules = loaded(code, *arguments)
    assert "harness" in modules
    assert not {module.partition(".")[0] for module in modules} & (HEAVY | {"methods", "tasks"})
