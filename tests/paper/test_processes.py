"""The whole command in two processes under torchrun: the same leaderboard, written once."""

import json
from pathlib import Path

import launch
from paper_user import SMALL, results
from several_processes import torchrun


def command(model: Path, files: Path) -> list[str]:
    options = {
        "profile": "paper",
        "model": str(model),
        "dataset": str(files / "pairs.jsonl"),
        "method": "dpo",
        "tasks": "mmbench,pope",
    }
    given = [part for key, value in options.items() for part in (f"--{key}", value)]
    for task, place in (("mmbench", "mmbench.tsv"), ("pope", "pope")):
        given += ["--source", f"{task}={files / place}"]
    for key, value in SMALL.items():
        given += ["--set", f"{key}={json.dumps(value)}"]
    return ["run", *given]


def test_two_processes_write_what_one_writes(llava: Path, files: Path, tmp_path: Path) -> None:
    one = launch.run(command(llava, files), tmp_path / "one")
    two = torchrun(command(llava, files), tmp_path / "two")
    assert (one.status, two.returncode) == (0, 0), one.stderr + two.stderr
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert len(results(tmp_path / "one")) == 4
    assert two.stdout == one.stdout
    (log,) = (tmp_path / "two" / "runs").glob("dpo_*/run.log")
    assert log.read_text().count(" added") == 4


def test_a_mistake_is_told_once(llava: Path, files: Path, tmp_path: Path) -> None:
    done = torchrun(command(tmp_path / "no", files), tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("harness: method 'base': no model") == 1
