"""Rounds: each collects from the next prompts with the model as it is, and is trained once."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import DataError
from harness.models import loading
from harness.models.rewriting import read_rewriting, rewritten
from harness.training import Fit
from methods.poir.choice import pair
from methods.poir.rounds import of_round, readable, train
from tests.methods.poir.poir_world import ERRANDS, base, make_fit, prompt_rows, settings

LIMIT = 12
ROWS = prompt_rows(30)


def small_settings(rounds=1, **sections):
    collect = {"limit": LIMIT, **sections.pop("collect", {})}
    train = {"batch_size": 4, "micro_batch": 2, "lr": 1e-3, **sections.pop("train", {})}
    return settings(rounds=rounds, collect=collect, train=train, **sections)


def trained(folder, config, seed=0):
    fit = make_fit(folder, ROWS, seed, config)
    train(fit, config)
    out = folder / f"checkpoint-{len(list(folder.glob('checkpoint-*')))}"
    fit.save(out)
    return fit, out


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trainings():
    """The folders of all trainings, counted as they are made."""
    made = []
    real = Fit.train

    def counted(self, rows, *more, **named):
        made.append((self.folder, len(rows)))
        return real(self, rows, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "train", counted)
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory, trainings):
    """One round, and then two in the same store."""
    folder = tmp_path_factory.mktemp("rounds")
    one = trained(folder, small_settings(1))
    after_one = len(trainings)
    two = trained(folder, small_settings(2))
    return one, two, (after_one, len(trainings))


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 9))
def test_a_round_takes_the_next_rows_from_the_start_again_after_the_last(count, limit, number):
    order = [i * 7 for i in range(count)]
    found = of_round(order, number, limit)
    if limit >= count:
        assert found == order
    else:
        endless = order * (number * limit // count + 3)
        assert found == endless[number * limit :][:limit] and len(set(found)) == limit
    assert of_round(order, number, None) == order


def test_two_rounds_take_the_first_one_as_one_round_left_it(world, trainings):
    (_, once), (fit, twice), counts = world
    assert counts == (1, 2)
    assert trainings[0][0] != trainings[1][0]
    assert (once / "collection-1.jsonl").read_bytes() == (twice / "collection-1.jsonl").read_bytes()
    assert len(list((fit.store.root / "stages").iterdir())) == 2


def test_another_temperature_of_use_trains_nothing_again(world, trainings):
    (fit, out), _, _ = world
    before = len(trainings)
    cooler = small_settings(1, rewriting={**ERRANDS.model_dump(), "temperature": 0.0})
    _, other = trained(fit.folder.parent, cooler)
    assert len(trainings) == before
    assert read_rewriting(other).temperature == 0 and read_rewriting(out).temperature == 0.7
    assert load_file(other / "model.safetensors").keys()


def test_rounds_collect_from_different_prompts_with_the_trained_model(world):
    _, (fit, out), _ = world
    first, second = (lines(out / f"collection-{number}.jsonl") for number in (1, 2))
    prompts = [{row["prompt"] for row in one} for one in (first, second)]
    assert len(prompts[0]) == len(prompts[1]) == LIMIT and not prompts[0] & prompts[1]
    assert prompts[0] | prompts[1] <= {row["prompt"] for row in ROWS}
    weights = [
        load_file(stage / "checkpoint/model.safetensors")
        for stage in (fit.store.root / "stages").iterdir()
    ]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_cost_and_the_curves_are_of_all_rounds(world):
    (one, _), (two, _), _ = world
    assert two.cost.train_tokens > one.cost.train_tokens > 0
    assert two.cost.train_flops > one.cost.train_flops
    assert two.cost.total_parameters == one.cost.total_parameters
    assert {row["round"] for row in two.curves} == {1, 2}
    of_first = [{k: v for k, v in row.items() if "time" not in k} for row in one.curves]
    again = [
        {k: v for k, v in row.items() if "time" not in k} for row in two.curves if row["round"] == 1
    ]
    assert again == of_first


def test_a_checkpoint_rewrites_as_it_was_trained_to(world):
    _, (_, out), _ = world
    rewriting = read_rewriting(out)
    assert rewriting == ERRANDS
    prompts = [row["prompt"] for row in ROWS[:3]]
    found = rewritten(loading.load(out, "causal-lm"), rewriting, prompts)
    assert len(found) == 3 and all(found)


def test_the_pairs_trained_on_are_those_of_the_collection(world, trainings):
    (fit, out), _, _ = world
    shown = lines(out / "collection-1.jsonl")
    prompts = {row["prompt"] for row in shown}
    every = map(lines, (fit.store.root / "collection").glob("*/rows.jsonl"))
    (history,) = (found for found in every if {row["prompt"] for row in found} == prompts)
    assert [row for each in history for row in readable(each)] == shown
    pairs = [pair(row, small_settings(1).collect, 0) for row in history]
    assert trainings[0][1] == sum(each is not None for each in pairs)


def test_what_people_read_is_a_row_per_time_with_short_numbers():
    candidate = {"text": "a: b", "prompt": "b", "score": 1.23456, "good": -1.0, "bad": -2.23456}
    dropped = {"text": "", "prompt": "", "score": None, "dropped": "empty"}
    one = {"rewritten": "p", "candidates": [candidate, dropped], "decision": "the best takes"}
    two = {"rewritten": "b", "candidates": [dropped], "decision": "none is better"}
    rows = list(readable({"prompt": "p", "score": 0.5, "rounds": [one, two]}))
    assert [(row["prompt"], row["time"], row["rewritten"]) for row in rows] == [
        ("p", 1, "p"),
        ("p", 2, "b"),
    ]
    first, second = rows[0]["candidates"]
    assert first["score"] == pytest.approx(1.23456, abs=1e-3) and len(str(first["score"])) < 7
    assert second["dropped"] == "empty"


def test_random_pairs_and_supervision_share_the_collection(world, trainings):
    (fit, out), _, _ = world
    before = len(trainings)
    folder = fit.folder.parent
    count = len(list((fit.store.root / "collection").iterdir()))
    for config in (
        small_settings(1, collect={"pairs": "random"}),
        small_settings(1, loss={"kind": "sft"}),
    ):
        other, checkpoint = trained(folder, config)
        assert (checkpoint / "collection-1.jsonl").read_bytes() == (
            out / "collection-1.jsonl"
        ).read_bytes()
        assert torch.is_tensor(next(other.model.module.parameters()))
    assert len(trainings) == before + 2
    assert len(list((fit.store.root / "collection").iterdir())) == count


def test_adapters_are_trained_again_and_the_base_keeps_its_weights(tmp_path):
    lora = {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}
    fit, out = trained(tmp_path, small_settings(2, train={"lora": lora, "lr": 1e-2}))
    assert not (out / "model.safetensors").exists() and loading.is_adapter(out)
    assert loading.base_of(out) == base().absolute()
    first, second = (
        load_file(stage / "checkpoint/adapter_model.safetensors")
        for stage in sorted(
            (tmp_path / "store/stages").iterdir(),
            key=lambda path: (path / "stage.json").stat().st_mtime_ns,
        )
    )
    assert first.keys() == second.keys() and all("lora" in name for name in first)
    moved = [not torch.equal(first[name], second[name]) for name in first]
    assert sum(moved) > len(moved) / 2
    saved = load_file(out / "adapter_model.safetensors")
    assert all(torch.equal(saved[name], second[name]) for name in second)
    kept = loading.load(base(), "causal-lm").module.state_dict()
    for name, weight in loading.load(out, "causal-lm").module.get_base_model().named_parameters():
        if "lora" not in name:
            assert torch.equal(weight, kept[name.replace(".base_layer", "")]), name
    assert 0 < fit.cost.trainable_parameters < fit.cost.total_parameters / 10


def test_fewer_pairs_than_a_batch_are_refused_with_the_place_and_the_fix(tmp_path):
    config = small_settings(1, collect={"limit": 6, "margin": 30.0}, train={"batch_size": 4})
    with pytest.raises(DataError) as error:
        trained(tmp_path, config)
    said = str(error.value)
    assert said.startswith("stage 'round 1': 0 of 6 prompts gave a pair, fewer than one batch of 4")
    assert "collect.margin" in said and "\n" not in said
    (path,) = (tmp_path / "store/stages").glob("*/collection.jsonl")
    assert str(path) in said and len({row["prompt"] for row in lines(path)}) == 6


@pytest.mark.parametrize(("said", "why"), [("", "empty"), ("x" * 400, "too long")])
def test_a_collection_of_nothing_usable_is_refused_with_why(tmp_path, monkeypatch, said, why):
    monkeypatch.setattr(
        "harness.models.causal_lm.CausalLM.generate",
        lambda self, texts, samples=1, **_: [said] * (len(texts) * samples),
    )
    with pytest.raises(DataError, match=rf"0 of 12 prompts .* not count, \d+ were {why}\)"):
        trained(tmp_path, small_settings(1))


def test_a_stage_that_was_cut_off_is_not_taken_for_done(tmp_path):
    trained(tmp_path / "a", small_settings(1))
    (done,) = (tmp_path / "a/store/stages").glob("*/seal.json")
    weights = load_file(done.parent / "checkpoint/model.safetensors")
    done.unlink()
    _, out = trained(tmp_path / "a", small_settings(1))
    again = load_file(out / "model.safetensors")
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_run_collects_trains_and_is_scored_with_rewrites_to_look_at(tmp_path):
    given = {
        "collect.limit": 8,
        "collect.candidates": 3,
        "collect.recirculations": 1,
        "rewriting.max_new_tokens": 12,
        "train.batch_size": 4,
        "train.micro_batch": 4,
        "train.epochs": 1,
    }
    words = ["run", "--method", "poir", "--tasks", "errands_prompts", "--limit", "12"]
    words += [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    words += ["--runs", str(tmp_path / "runs"), "--leaderboards", str(tmp_path / "boards")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.count("before: ") == result.output.count("after: ") == 3
    (board,) = (tmp_path / "boards").rglob("errands_prompts.json")
    entries = json.loads(board.read_text())["entries"].values()
    assert {entry["method"] for entry in entries} == {"base", "poir"}
    (out,) = (tmp_path / "runs").glob("poir_*/poir-seed0/checkpoint")
    assert read_rewriting(out).max_new_tokens == 12
    assert len({row["prompt"] for row in lines(out / "collection-1.jsonl")}) == 8
