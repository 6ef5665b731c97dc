"""The README's example of a method, installed as a stranger's package and run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_llava import tiny_llava

EXAMPLE = Path(__file__).parents[2] / "examples" / "self_training"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that the example is pip-installed into."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--no-index", "--target", str(folder), str(EXAMPLE)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_shows_the_example_as_it_is():
    source = (EXAMPLE / "self_training.py").read_text()
    readme = (EXAMPLE.parents[1] / "README.md").read_text()
    assert source.rstrip() in readme
    assert len(source.splitlines()) < 40


def test_an_installed_example_trains_and_is_scored(site, tmp_path):
    model = tiny_llava(tmp_path / "model")
    command = "run --method self-training --tasks pope --dataset lab/scenes --limit 6 --json"
    settings = ["--set", "limit=32", "--set", "train.batch_size=16", "--model", str(model)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *command.split(), *settings],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert [entry["method"] for entry in entries] == ["base", "self-training"]
    assert entries[0]["model"]["weights"] != entries[1]["model"]["weights"]
    assert entries[1]["cost"]["train_tokens"] > 0
