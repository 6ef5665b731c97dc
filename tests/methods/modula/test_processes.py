"""MoDULA's three stages in two processes under torchrun: what one process makes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from several_processes import HARNESS, TORCHRUN, launch
from tiny_translators import WORDS, tiny_llama

TRAIN = {
    "lr": 2e-2,
    "batch_size": 4,
    "micro_batch": 2,
    "epochs": 1,
    "precision": "fp32",
    "gradient_checkpointing": False,
}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of two domains that is scored on sums, all from files."""
    folder = tmp_path_factory.mktemp("files")
    sets = {name: folder / f"{name}.jsonl" for name in ("general", "math", "code")}
    for number, path in enumerate(sets.values()):
        rows = [
            {"prompt": f"{path.stem} {word} =", "answer": WORDS[(index + number) % 5]}
            for index, word in enumerate(WORDS[:16])
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    mixture = folder / "both.yaml"  # one domain's set is made of two files
    mixture.write_text("parts: [{source: code.jsonl, weight: 3}, {source: math.jsonl, weight: 1}]")
    sets["code"] = mixture
    asked = [{"question": f"How many are {i} apples?", "answer": f"#### {i}"} for i in range(6)]
    sums = folder / "test.jsonl"
    sums.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    stages = ("universal", "experts", "router")
    settings = {
        "ranks.universal": 4,
        "ranks.expert": 2,
        "data.max_length": 64,
        **{f"data.domains.{name}": str(sets[name]) for name in ("math", "code")},
        "data.domains.medicine": None,  # of the preset
        "targets": "all-linear",
        **{f"{stage}.{name}": value for stage in stages for name, value in TRAIN.items()},
    }
    given = ["--profile", "paper", "--model", str(tiny_llama(folder / "model"))]
    given += ["--dataset", str(sets["general"]), "--method", "modula", "--tasks", "gsm8k"]
    given += ["--source", f"gsm8k={sums}", "--option", "gsm8k.shots=0"]
    for key, value in settings.items():
        given += ["--set", f"{key}={json.dumps(value)}"]
    return [HARNESS, "run", *given]


def test_three_stages_in_two_processes_make_what_one_makes(
    command: list[str], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    alone = launch(command, one)
    assert alone.returncode == 0, alone.stderr
    both = launch([*TORCHRUN, *command], two)
    assert both.returncode == 0, both.stderr
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
