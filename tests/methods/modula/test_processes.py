"""MoDULA's three stages in two processes: what one process makes."""

import json
from pathlib import Path

import launch
import torch
from flan_user import settings
from safetensors.torch import load_file
from several_processes import arguments

import harness


def test_three_stages_in_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    files, one, two = (tmp_path / name for name in ("files", "one", "two"))
    files.mkdir()
    asked = settings(files)
    harness.run(**asked, runs=one / "runs", leaderboards=one / "leaderboards")
    for each in launch.run_together(["run", *arguments(asked)], two):
        assert each.status == 0, each.stderr
    (first,), (second,) = (list(place.glob("runs/modula_*/modula-seed0")) for place in (one, two))
    stages = [
        json.loads(((run / "checkpoint").resolve().parent / "stages.json").read_text())
        for run in (first, second)
    ]
    assert list(stages[0]) == list(stages[1]) == ["universal", "math", "code", "router"]
    for name, stage in stages[0].items():
        assert stages[1][name]["cost"] == stage["cost"], name
    ours, theirs = (load_file(run / "checkpoint/modula.safetensors") for run in (first, second))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-3, atol=1e-4)
