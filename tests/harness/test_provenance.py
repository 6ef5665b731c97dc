"""An entry names whose code took part, and is replaced where that changed and nothing else."""

import json
import re

import launch
import pytest
from builders import entry
from foreign import METHOD, package
from tiny_llava import tiny_llava

from harness import leaderboard
from harness.leaderboard import SAME_RESULT
from harness.schema import PluginRef, Provenance

LEADERBOARD = "leaderboards/pope.json"


def stranger(site, words="Polite.", value="1"):
    """A method in one module of a package, which a second one helps and a third does not."""
    method = METHOD.replace("from harness", "from stranger.helper import VALUE\nfrom harness", 1)
    files = {
        "stranger/__init__.py": "",
        "stranger/plugin.py": method.replace("Does nothing, politely.", words),
        "stranger/helper.py": f"VALUE = {value}\n",
        "stranger/table.py": f"print({words!r})\n",
    }
    return package(site, "stranger", files, {"harness.methods": {"mine": "stranger.plugin:Mine"}})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 4, 6)
    tiny_llava(folder / "model")
    return folder


def outcomes(world, folder, site):
    """Method -> how its entry was recorded, as a run's log says it; and the entries as they are."""
    words = ["run", "--method", "mine", "--tasks", "pope", "--model", world / "model"]
    done = launch.run([*words, "--source", f"pope={world / 'pope.jsonl'}"], folder, path=[site])
    assert done.status == 0, done.stderr
    (log,) = folder.glob("runs/mine_pope-*/run.log")
    said = re.findall(r"INFO pope: (\w+) .*: ([\w ]+)$", log.read_text(), flags=re.MULTILINE)
    log.unlink()
    entries = leaderboard.read(folder / LEADERBOARD).entries.values()
    return dict(said), {each.method: each for each in entries}


def without_plugins(path):
    """Make the entries of a leaderboard older than the naming of plugins."""
    board = json.loads(path.read_text())
    for each in board["entries"].values():
        del each["provenance"]["plugins"]
    path.write_text(json.dumps(board))


def test_a_strangers_plugin_is_named_and_its_change_recorded(world, tmp_path):
    site = stranger(tmp_path / "site")
    said, first = outcomes(world, tmp_path, site)
    assert said == {"base": "added", "mine": "added"}
    plugins = first["mine"].provenance.plugins
    assert set(plugins) == {"method/mine", "task/pope"}
    assert (plugins["method/mine"].distribution, plugins["method/mine"].version) == (
        "stranger",
        "1.0",
    )
    assert plugins["task/pope"].distribution == "harness"
    packages = first["mine"].provenance.packages
    assert {"harness", "torch", "transformers", "pillow"} <= packages.keys()

    before = (tmp_path / LEADERBOARD).read_bytes()
    assert outcomes(world, tmp_path, site)[0] == {"base": "unchanged", "mine": "unchanged"}
    stranger(site, words="Other words.")  # in a docstring, and in a module that nothing imports
    assert outcomes(world, tmp_path, site)[0] == {"base": "unchanged", "mine": "unchanged"}
    assert (tmp_path / LEADERBOARD).read_bytes() == before

    stranger(site, value="2")
    said, second = outcomes(world, tmp_path, site)
    assert said == {"base": "unchanged", "mine": SAME_RESULT}
    assert second["mine"].result() == first["mine"].result()
    changed = second["mine"].provenance.plugins
    assert changed["method/mine"].code != plugins["method/mine"].code
    assert changed["task/pope"] == plugins["task/pope"]


def test_an_older_entry_is_replaced_where_a_stranger_took_part(world, tmp_path):
    site = stranger(tmp_path / "site")
    _, first = outcomes(world, tmp_path, site)
    without_plugins(tmp_path / LEADERBOARD)
    said, again = outcomes(world, tmp_path, site)
    assert said == {"base": "unchanged", "mine": SAME_RESULT}
    assert again["mine"].provenance.plugins == first["mine"].provenance.plugins
    assert again["base"].provenance.plugins == {}


@pytest.mark.parametrize("field", ["distribution", "version", "code"])
def test_each_part_of_a_plugins_identity_counts_and_the_engines_code_does_not(field, tmp_path):
    def made(engine="e0", **changes):
        plugin = PluginRef(**{"distribution": "harness", "version": "1", "code": "c0", **changes})
        plugins = {"method/aspo": plugin}
        source = {"commit": None, "dirty": False, "packages": {}, "command": "run"}
        return entry(provenance=Provenance(code=engine, plugins=plugins, **source))

    assert leaderboard.record(tmp_path, made()) == "added"
    assert leaderboard.record(tmp_path, made(engine="e1")) == "unchanged"
    assert leaderboard.record(tmp_path, made(**{field: "new"})) == SAME_RESULT
    assert leaderboard.record(tmp_path, made(**{field: "new"})) == "unchanged"
