"""Plugins: listed without an import, loaded on use; broken and clashing ones harm no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from foreign import CARD, CARDS, METHOD, package
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import PluginError, suggestion

APP = '''"""Commands of a stranger."""

import typer

app = typer.Typer(help="Weighs things.")


@app.command()
def weigh(what: str) -> None:
    """Say how heavy something is."""
    typer.echo(f"{what}: heavy")
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A good method, one that breaks on import, one that exits, a task with a broken card, a name
    that is ours, a module that is not there, one that is no Python, and commands."""
    return package(
        tmp_path_factory.mktemp("site"),
        "stranger",
        {
            "stranger/__init__.py": CARDS,
            "stranger/mine.py": METHOD,
            "stranger/raising.py": '"""Breaks."""\nraise RuntimeError("no licence\\nfound")\n',
            "stranger/exiting.py": '"""Exits."""\nimport sys\nsys.exit(3)\n',
            "stranger/syntax.py": "def broken(:\n",
            "stranger/latin.py": "# -*- coding: latin-1 -*-\n",
            "stranger/orders.py": APP,
            "stranger/cards/good.yaml": CARD.format(name="good", prompt="{question}"),
            "stranger/cards/broken.yaml": CARD.format(name="broken", prompt="x").replace(
                "primary: f1", "primry: f1"
            ),
        },
        {
            "harness.methods": {
                "mine": "stranger.mine:Mine",
                "raising": "stranger.raising:Thing",
                "exiting": "stranger.exiting:Thing",
                "absent": "stranger.nowhere:Thing",
                "syntax": "stranger.syntax:Thing",
                "lacking": "stranger.mine:Other",
                "strange": "stranger.mine:__doc__",
            },
            "harness.tasks": {
                "good": "stranger:good",
                "broken": "stranger:broken",
                "pope": "stranger:good",
            },
            "harness.commands": {"scales": "stranger.orders:app", "run": "stranger.orders:app"},
        },
    )


def harness(*arguments, site=None, cwd=None):
    path = os.pathsep.join(map(str, filter(None, [site, os.environ.get("PYTHONPATH")])))
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=cwd or Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def error(done):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("harness: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("harness: ").strip()


def line(text, name):
    return [row for row in text.splitlines() if row.split()[0] == name]


def test_listing_shows_all_and_says_what_is_broken(site):
    done = harness("list", "methods", site=site)
    assert done.returncode == 0, done.stderr
    assert line(done.stdout, "mine")[0].split(None, 1)[1] == "Does nothing, politely.  [stranger]"
    assert "broken: no module 'stranger.nowhere'" in line(done.stdout, "absent")[0]
    assert "broken:" in line(done.stdout, "syntax")[0]
    assert "Breaks." in line(done.stdout, "raising")[0]
    assert len(line(done.stdout, "aspo")) == 1


def test_a_clash_is_listed_twice_and_marked(site):
    both = line(harness("list", "tasks", site=site).stdout, "pope")
    assert len(both) == 2
    assert "ambiguous: harness tasks.multimodal:pope" in both[0]
    assert "ambiguous: stranger stranger:good" in both[1]


def test_a_clash_is_an_error_naming_both(site):
    text = error(harness("run", "--method", "base", "--tasks", "pope", "--dry-run", site=site))
    assert "harness 0.1.0 (tasks.multimodal:pope)" in text
    assert "stranger 1.0 (stranger:good)" in text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raising", "RuntimeError: no licence found"),
        ("exiting", "SystemExit: 3"),
        ("absent", "ModuleNotFoundError"),
        ("syntax", "SyntaxError"),
        ("lacking", "AttributeError"),
        ("strange", "is not a subclass of harness.method.Method"),
    ],
)
def test_a_broken_plugin_shows_its_own_error_on_use(name, reason, site):
    done = harness("run", "--method", name, "--tasks", "good", "--dry-run", site=site)
    assert f"method '{name}'" in error(done)
    assert reason in error(done)


def test_a_broken_card_shows_its_file_and_field_on_use(site):
    text = error(harness("show", "broken", site=site))
    assert "cards/broken.yaml" in text
    assert "unknown field 'primry'. Did you mean 'primary'?" in text


def test_broken_plugins_harm_no_other(site):
    shown = harness("show", "mine", site=site)
    assert shown.returncode == 0, shown.stderr
    assert "stranger 1.0, stranger.mine:Mine" in shown.stdout
    assert harness("show", "good", site=site).returncode == 0


def test_commands_of_a_plugin_are_reached_by_its_name_and_stand_in_the_help(site):
    done = harness("scales", "weigh", "lead", site=site)
    assert (done.stdout, done.returncode) == ("lead: heavy\n", 0), done.stderr
    shown = harness("--help", site=site).stdout
    assert "scales" in shown
    assert "of stranger 1.0" in shown
    assert "scales" not in harness("--help").stdout


def test_a_plugin_cannot_take_a_verb_of_the_engine(site):
    assert "Train methods" in harness("run", "--help", site=site).stdout
    assert "of stranger 1.0 (hidden" in harness("--help", site=site).stdout


def test_a_mistake_in_a_plugins_command_is_one_line(site):
    assert "wegh" in error(harness("scales", "wegh", site=site))
    assert "WHAT" in error(harness("scales", "weigh", site=site)).upper()


@pytest.mark.parametrize("name", ["tasks", "methods"])
def test_a_stray_module_of_our_name_is_named(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    task = error(harness("run", "--method", "base", "--tasks", "pope", "--dry-run", cwd=tmp_path))
    assert f"{tmp_path / name}.py was found in its place" in task
    listed = harness("list", name, cwd=tmp_path)
    assert listed.returncode == 0
    assert f"{tmp_path / name}.py was found in its place" in listed.stdout


def test_a_stray_folder_without_init_hides_nothing(tmp_path):
    (tmp_path / "tasks" / "multimodal").mkdir(parents=True)
    shown = harness("show", "pope", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_a_really_installed_package_is_found(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    (source / "visiting").mkdir(parents=True)
    (source / "visiting" / "__init__.py").write_text(METHOD)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "visiting-methods"\nversion = "2.5"\n'
        '[project.entry-points."harness.methods"]\nvisiting = "visiting:Mine"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["visiting"]\n'
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", site, source]
    subprocess.run([*pip, *map(str, options)], check=True, timeout=120)
    assert "visiting-methods" in line(harness("list", "methods", site=site).stdout, "visiting")[0]
    assert "visiting-methods 2.5" in harness("show", "visiting", site=site).stdout


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_registered_plugin_of_ours_has_a_summary(kind):
    ours = [p for p in registry.plugins(kind) if p.distribution == registry.DISTRIBUTION]
    assert ours
    assert all(p.summary() and not p.summary().startswith("broken") for p in ours)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(PluginError, match=r"no task 'mmbnch'\. Did you mean 'mmbench'\?"):
        registry.find("tasks", "mmbnch")


@given(st.text())
def test_any_unknown_name_is_an_error_with_the_way_out(name):
    known = registry.names("tasks")
    if name not in known:
        with pytest.raises(PluginError, match="`harness list tasks` shows all"):
            registry.find("tasks", name)
    assert suggestion(name, known) == "" or "Did you mean" in suggestion(name, known)
