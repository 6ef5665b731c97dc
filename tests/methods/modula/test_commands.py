"""`harness modula`: a domain more and less for a finished run, and what its routers do."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from flan_user import TRAIN, settings
from safetensors.torch import load_file
from typer.testing import CliRunner

import harness
from harness.errors import HarnessError
from methods.modula.commands import app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two domains, with the files that it was made from."""
    folder = tmp_path_factory.mktemp("world")
    places = {"runs": folder / "runs", "leaderboards": folder / "leaderboards"}
    harness.run(**settings(folder), **places)
    return folder


def ask(world: Path, *words: str) -> str:
    """What a command says on the screen."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def only_run(world: Path) -> str:
    return str(min((world / "runs").glob("modula_*"), key=lambda path: path.stat().st_mtime))


def trained(said: str) -> dict[str, torch.Tensor]:
    """Experts and routers of the run that a command ended with."""
    folder = Path(re.findall(r"run folder: (.+)", said)[0])
    return load_file(folder / "modula-seed0/checkpoint/modula.safetensors")


def test_a_domain_is_added_and_taken_away_and_no_other_expert_changes(world: Path) -> None:
    run = only_run(world)
    before = load_file(Path(run) / "modula-seed0/checkpoint/modula.safetensors")
    new = ("--domain", "news", "--dataset", str(world / "news.jsonl"))
    rates = [w for name, value in TRAIN.items() for w in ("--set", f"train.{name}={value}")]
    said = ask(world, "extend", run, *new, "--against", "molora", *rates)
    after = trained(said)
    kept = [name for name in before if not name.endswith("router")]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert {name.split(".experts.")[1].split(".")[0] for name in after.keys() - before.keys()} == {
        "news"
    }
    shares = re.findall(r"([\d.]+) % of the (\w+)", said)
    assert [what for _, what in shares] == ["parameters", "tokens", "FLOPs", "seconds"]
    ours, whole = (
        [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:param|tokens)", line)]
        for line in said.splitlines()
        if " trained " in line and "param" in line
    )
    for (share, _), own, all_ in zip(shares[:2], ours, whole, strict=True):
        assert float(share) == pytest.approx(100 * own / all_, abs=0.051)

    said = ask(world, "remove", run, "--domain", "math")
    less = trained(said)
    assert not any(".math." in name for name in less)
    assert all(torch.equal(less[n], before[n]) for n in less if not n.endswith("router"))


def test_routers_are_shown_and_drawn(world: Path) -> None:
    run = only_run(world)
    said = ask(world, "routing", run, "--limit", "3")
    assert "arc_easy" in said and "math" in said
    place = Path(run) / "modula-seed0/routing.json"
    (layers,) = json.loads(place.read_text()).values()
    for shares in layers.values():
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert list(shares) == ["math", "code"]
    assert place.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


WRONG: dict[str, tuple[Sequence[str], str]] = {
    "a domain that is there": (
        ("extend", "RUN", "--domain", "math", "--dataset", "x.jsonl"),
        "has the domain 'math' already",
    ),
    "a domain that is not": (
        ("remove", "RUN", "--domain", "maths"),
        "has no domain 'maths'. Did you mean 'math'? It has math, code.",
    ),
    "no data": (
        ("extend", "RUN", "--domain", "news", "--dataset", "x.jsonl"),
        "x.jsonl: no such file or folder",
    ),
    "no run": (("remove", "FOLDER", "--domain", "math"), "is no folder of a run"),
    "an unknown method": (
        ("extend", "RUN", "--domain", "n", "--dataset", "x.jsonl", "--against", "molara"),
        "Did you mean 'molora'?",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line(case: str, world: Path, tmp_path: Path) -> None:
    words, message = WRONG[case]
    places = {"RUN": only_run(world), "FOLDER": str(tmp_path)}
    with pytest.raises(HarnessError) as caught:
        ask(world, *(places.get(word, word) for word in words))
    assert message in str(caught.value) and "\n" not in str(caught.value)
