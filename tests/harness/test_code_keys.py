"""Keys cover the code that a computation reaches: found without a list kept by hand."""

import re
import shutil
import subprocess
import sys
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from harness import code_keys, computations, registry
from harness.code_keys import Computation, named_in, of_plugin, reached
from harness.errors import PluginError
from harness.judges import open_judge
from harness.models import ROLES, loading

HOME = registry.HOME
PACKAGES = ("harness", "methods", "tasks")
BEGINNINGS = {"harness/__init__.py": "", "harness/task.py": "    from harness.scoring import .*\n"}
"""What a run begins or ends with, of which nothing is kept: left out where imports are counted."""
KEPT_BY_CONTENT = ("cards", "opening", "registry")


def copied(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("weights", "__pycache__", "*.png", "*.svg")
    for package in PACKAGES:
        shutil.copytree(HOME / package, folder / package, ignore=ignored)
    return folder


@cache
def all_computations() -> dict[str, Computation]:
    """One of each that differ: variants of a method share their code."""
    found = {}
    for name in ("aspo", "ctsd", "modula", "poir", "fashionklip"):
        method = registry.load("methods", name)
        base = loading.resolve(method.presets["lab"].model)
        found[name] = computations.of_fit(method(method.Config()), name, base)
    for name in ("pope", "ecommerce_titles", "garments", "errands_sums", "mmlu", "errands_prompts"):
        task = registry.load("tasks", name)
        found[name] = computations.of_predictions(task, loading.resolve("lab/errands"))
    found["lab judge"] = computations.of_verdicts(open_judge("lab", {}, Path("judge")))
    found["comet"] = computations.of_engine_scores(registry.load("tasks", "wmt"), "comet")
    return found


def modules_of(tree: Path) -> list[str]:
    return [
        ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in sorted((tree / package).rglob("*.py"))
    ]


def file_of(tree: Path, module: str) -> Path:
    path = tree.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[str, set[str]]:
    """What each computation imports, found by the standard library in the compiled modules."""
    tree = copied(tmp_path_factory.mktemp("imported"))
    for path in tree.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n|\n(?=    ))+", "", text, flags=re.MULTILINE)
        if (pattern := BEGINNINGS.get(path.relative_to(tree).as_posix())) is not None:
            text = re.sub(pattern, "", text) if pattern else ""
        path.write_text(text, encoding="utf-8")
    for name in KEPT_BY_CONTENT:
        (tree / "harness" / f"{name}.py").unlink()
    known = set(modules_of(tree))
    found = {}
    for label, computation in all_computations().items():
        finder = ModuleFinder(path=[str(tree)])
        named = {"harness.models.translator"} if label == "comet" else set()  # its task's role
        for name in sorted(known & {*computation.roots, *named}):
            for part in [name.rsplit(".", up)[0] for up in range(name.count("."), -1, -1)]:
                finder.import_hook(part)
        roles = {role.partition(":")[0] for role in ROLES.values()}
        most = 2 if label == "aspo" else 1  # whose similarity encoder is a dual one
        assert len(roles & set(finder.modules)) <= most, label
        found[label] = (known & set(finder.modules)) | set(computation.alone)
    return found


def test_a_key_covers_what_is_imported_and_no_more(imported):
    for label, computation in all_computations().items():
        sources = {name for name in reached(computation).sources if "/" not in name}
        assert sources == imported[label], label


def test_each_edit_moves_the_keys_that_reach_it_and_no_other(imported, tmp_path):
    tree = copied(tmp_path)

    def keys() -> dict[str, str]:
        return {
            label: reached(computation, tree=tree).key()["code"]
            for label, computation in all_computations().items()
        }

    before = keys()
    installed = {label: reached(each).key()["code"] for label, each in all_computations().items()}
    assert before == installed
    for module in modules_of(tree):
        path = file_of(tree, module)
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\n_edited = 1\n", encoding="utf-8")
        now = keys()
        moved = {label for label in now if now[label] != before[label]}
        assert moved == {label for label in imported if module in imported[label]}, module
        path.write_text(text, encoding="utf-8")
    for module in modules_of(tree):
        path = file_of(tree, module)
        text = path.read_text(encoding="utf-8")
        undocumented = "__doc__" in text or text.startswith('"""') is False
        text = text if undocumented else text.replace('"""', '"""Other words. ', 1)
        path.write_text(f"# a comment\n\n{text}\n# another\n'Words.'\n", encoding="utf-8")
    assert keys() == before


@pytest.mark.parametrize(
    ("module", "labels"),
    [
        ("harness.contrastive", {"fashionklip"}),
        ("harness.gathering", {"fashionklip"}),
        ("harness.sequences", {"modula"}),
        ("harness.settings", {"aspo", "ctsd", "modula", "poir", "fashionklip"}),
        ("harness.trainer", {"aspo", "ctsd", "modula", "poir", "fashionklip"}),
        ("harness.fitting", {"aspo", "ctsd", "modula", "poir", "fashionklip"}),
        ("harness.judging", {"lab judge"}),
        ("harness.engines", {"comet", "ecommerce_titles"}),
        ("methods.aspo.table", set()),
        ("methods.aspo.fullsize", set()),
        ("methods.modula.adapter", set()),
        ("methods.aspo.loss", {"aspo"}),
        ("harness.plan", set()),
        ("harness.leaderboard", set()),
        ("harness.compare", set()),
        ("harness.report.terminal", set()),
        ("harness.cli", set()),
        ("tasks.multimodal.lab.models", set()),
        ("tasks.flan.lab.prompts", {"errands_prompts"}),
        ("tasks.flan.rows", {"mmlu"}),
        ("harness.models.translator", {"ctsd", "ecommerce_titles", "comet"}),
        ("harness.models.vision_language", {"aspo", "pope"}),
    ],
)
def test_known_edges(module, labels):
    found = {label for label, each in all_computations().items() if module in reached(each).sources}
    assert found == labels


def test_variants_of_a_method_share_its_code():
    method = registry.load("methods", "clip")
    base = loading.resolve("lab/garments-clip")
    clip = reached(computations.of_fit(method(method.Config()), "clip", base))
    assert clip == reached(all_computations()["fashionklip"])


def test_packages_are_those_that_are_reached():
    packages = {label: reached(each).packages for label, each in all_computations().items()}
    assert {"torch", "transformers", "numpy", "tokenizers", "safetensors", "peft"} <= set(
        packages["aspo"]
    )
    assert {label for label in packages if "lm_eval" in packages[label]} == {
        "errands_sums",
        "errands_prompts",
        "mmlu",
    }
    assert "pillow" in packages["aspo"] and "pillow" in packages["garments"]
    assert "sentencepiece" in packages["ctsd"] and "langcodes" in packages["ctsd"]
    assert packages["lab judge"].keys() <= {"pydantic"}
    assert not {"filelock", "typer", "rich", "pytest"} & {
        p for each in packages.values() for p in each
    }


def test_nothing_is_imported_to_find_the_code():
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness import code_keys, computations, registry\n"
        "method = registry.load('methods', 'clip')\n"
        "made = computations.of_fit(method(method.Config()), 'clip', Path('.'))\n"
        "assert 'harness.contrastive' in code_keys.reached(made).sources\n"
        "assert not {'torch', 'transformers', 'PIL', 'lm_eval'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HOME)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A stranger's package on the path; returns a function that writes its files."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    write.folder = tmp_path
    return write


def code_of(world, module="stranger.plugin"):
    return reached(Computation((module,), own=code_keys.OURS | {"stranger"}), tree=world.folder)


def test_every_way_to_import_counts(world):
    world(
        {
            "stranger/__init__.py": "from . import at_start\n",
            "stranger/at_start.py": "",
            "stranger/plugin.py": "import importlib, stranger.plain\n"
            "from typing import TYPE_CHECKING\n"
            "from stranger.parts import one\n"
            "from .near import thing\n"
            "if TYPE_CHECKING:\n    import stranger.seen_by_checkers\n"
            "else:\n    import stranger.otherwise\n"
            "def f():\n    from stranger import lazy\n"
            "    try:\n        importlib.import_module('stranger.called')\n"
            "    except ImportError:\n        import stranger.instead\n"
            "    match f:\n        case _:\n            from .parts.deep import down\n"
            "BUILDER = 'stranger.built:build'\n"
            "TEXT = 'stranger.only_text is a module'\n",
            **{
                f"stranger/{name}.py": ""
                for name in (
                    *("plain", "near", "lazy", "called", "instead", "built", "otherwise"),
                    *("seen_by_checkers", "only_text", "unreached"),
                )
            },
            "stranger/parts/__init__.py": "",
            "stranger/parts/one.py": "import stranger_beside\n",
            "stranger/parts/two.py": "",
            "stranger/parts/deep/down.py": "",
            "stranger_beside.py": "",
        }
    )
    ours = {"", ".plugin", ".at_start", ".plain", ".parts", ".parts.one", ".parts.deep.down"}
    ours |= {".near", ".lazy", ".called", ".instead", ".built", ".otherwise", ".parts.deep"}
    assert set(code_of(world).sources) == {f"stranger{name}" for name in ours} | {"stranger_beside"}


def test_docstrings_comments_and_layout_do_not_count_but_code_does(world):
    text = 'class A:\n    """Words."""\n    x = 1\n    """Of x."""\n    def f(self):\n        "W"\n'
    variants = {
        "same": text.replace("Words", "Other").replace("x = 1", "x = (1)  # note"),
        "value": text.replace("x = 1", "x = 2"),
        "used": text + "print(A.__doc__)\n",
        "used otherwise": text.replace("Words", "Other") + "print(A.__doc__)\n",
    }
    world({"stranger/plugin.py": text})
    seen = {"": code_of(world).sources["stranger.plugin"]}
    for label, variant in variants.items():
        world({"stranger/plugin.py": variant})
        seen[label] = code_of(world).sources["stranger.plugin"]
    assert seen[""] == seen["same"]
    assert len(set(seen.values())) == 4  # a docstring that the module itself reads counts


def test_files_beside_the_modules_count(world):
    world(
        {
            "stranger/plugin.py": "from pathlib import Path\n"
            "WORDS = Path(__file__).parent / 'words' / 'en.txt'\nSHOTS = 'shots/a.json'\n",
            "stranger/prompt.jinja": "{{ x }}",
            "stranger/README.md": "Look: ![curve](curve.png)",
            **{f"stranger/{name}": "1" for name in ("curve.png", "cat.png", ".hidden", "a.pyc")},
            **{f"stranger/words/{name}": "w" for name in ("en.txt", "de.txt", ".x")},
            "stranger/shots/a.json": "[]",
            **{f"stranger/{name}/x.yaml": "" for name in ("cards", "weights", "runs")},
            "stranger/other/__init__.py": "",
            "stranger/other/data.txt": "of a module that is not reached",
        }
    )
    before = code_of(world)
    files = {name for name in before.sources if "/" in name}
    names = ("prompt.jinja", "cat.png", "words/en.txt", "words/de.txt", "shots/a.json")
    assert files == {f"stranger/{name}" for name in names}
    world({"stranger/words/en.txt": "changed"})
    assert code_of(world).key() != before.key()


def test_a_module_that_stands_alone_has_no_files_beside_it(world):
    world({"alone.py": "class Thing: pass\n", "rows.csv": "a"})
    assert set(code_of(world, "alone").sources) == {"alone"}


def test_a_plugin_is_known_by_all_classes_that_it_inherits_from(world):
    world(
        {
            "base_of_strangers.py": "class Base: pass\n",
            "made_by_strangers.py": "import base_of_strangers\n"
            "Thing = type('Thing', (base_of_strangers.Base,), {})\n",
        }
    )
    import made_by_strangers

    found = of_plugin(made_by_strangers.Thing())
    assert {"made_by_strangers", "base_of_strangers"} <= set(found.roots)
    assert set(reached(found).sources) == {"made_by_strangers", "base_of_strangers"}
    for name in ("made_by_strangers", "base_of_strangers"):
        sys.modules.pop(name)


def test_a_plugin_without_a_source_file_is_refused():
    thing = type("Thing", (), {"__module__": "typed_in_by_hand"})
    with pytest.raises(PluginError, match="no source file of module 'typed_in_by_hand': put it"):
        of_plugin(thing)


def test_broken_source_is_one_line_that_names_the_file(world):
    world({"stranger/plugin.py": "import stranger.broken\n", "stranger/broken.py": "def f(:\n"})
    with pytest.raises(PluginError, match=r"broken\.py: cannot be read as Python source"):
        code_of(world)


def test_modules_that_options_name_are_found_anywhere_in_them():
    value = {
        "kind": "a.b:C",
        "list": ["x:y", 3, {"deep": "c:D"}],
        "no": "http://x",
        "word": "a b:c",
    }
    assert named_in(value).roots == ("a.b", "x", "c")


def test_installed_packages_count_by_version_and_editable_ones_by_source(world):
    world(
        {
            "site-packages/installed/__init__.py": "",
            "site-packages/installed-2.0.dist-info/METADATA": "Name: Installed\nVersion: 2.0\n",
            "site-packages/oddly/__init__.py": "",
            "site-packages/odd_name-3.dist-info/METADATA": "Name: odd-name\nVersion: 3\n",
            "site-packages/odd_name-3.dist-info/RECORD": "oddly/__init__.py,,\n",
            "site-packages/dropped.py": "",
            "stranger/plugin.py": "import installed, oddly, dropped, checked_out\n",
            "checked_out.py": "",
        }
    )
    sys.path.insert(0, str(world.folder / "site-packages"))
    try:
        code = code_of(world)
    finally:
        sys.path.remove(str(world.folder / "site-packages"))
    assert code.packages == {"Installed": "2.0", "odd-name": "3"}
    assert set(code.sources) == {"stranger", "stranger.plugin", "checked_out", "dropped"}


def test_a_checkpoint_that_a_plugin_reads_has_the_plugins_code_in_its_keys(tmp_path):
    base = loading.resolve("lab/errands")
    (tmp_path / "modula.json").write_text(f'{{"base": "{base}"}}')
    task = registry.load("tasks", "errands_sums")
    plain, adapted = (
        set(reached(computations.of_predictions(task, model)).sources) for model in (base, tmp_path)
    )
    assert plain < adapted and {"methods.modula.adapter", "methods.modula.layers"} <= adapted


def test_verdicts_of_a_judge_that_runs_a_model_depend_on_its_code():
    judge = registry.load("judges", "llm")
    code = reached(of_plugin(judge))
    assert {"tasks.preference.judges.local", "harness.models.causal_lm"} <= set(code.sources)
    assert "tasks/preference/judges/mt_bench.jsonl" in code.sources
    assert "torch" in code.packages
