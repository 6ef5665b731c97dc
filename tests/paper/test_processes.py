"""The whole command in two processes under torchrun: the same leaderboard, written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

from paper_user import SMALL, results

HARNESS = str(Path(sys.executable).with_name("harness"))
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    "--no-python",
)


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
    return [HARNESS, "run", *given]


def launch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, env=environment, timeout=300
    )


def test_two_processes_write_what_one_writes(llava: Path, files: Path, tmp_path: Path) -> None:
    one = launch(command(llava, files), tmp_path / "one")
    two = launch([*TORCHRUN, *command(llava, files)], tmp_path / "two")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert len(results(tmp_path / "one")) == 4
    assert two.stdout == one.stdout
    (log,) = (tmp_path / "two" / "runs").glob("dpo_*/run.log")
    assert log.read_text().count(" added") == 4


def test_a_mistake_is_told_once(llava: Path, files: Path, tmp_path: Path) -> None:
    done = launch([*TORCHRUN, *command(tmp_path / "no", files)], tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("harness: no model") == 1
