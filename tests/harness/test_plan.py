"""What is asked, said in any way, and the plan that comes of it."""

import json
from contextlib import suppress

import launch
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llava import tiny_llava

from harness import plan
from harness.configs import run_config
from harness.errors import HarnessError
from harness.plan import make_plan
from harness.provenance import command
from harness.registry import load
from harness.report.plan import plan_text
from harness.run_config import RunConfig


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 6, 9)
    tiny_llava(folder / "model")
    return folder


def asked(world, **more):
    return {
        "method": "dpo",
        "tasks": "pope",
        "model": str(world / "model"),
        "dataset": str(world / "pairs.jsonl"),
        "source": {"pope": str(world / "pope.jsonl")},
        **more,
    }


def planned(world, **more):
    return make_plan(run_config(asked(world, **more)))


def config_of(plan, name):
    return next(arm for arm in plan.arms if arm.name == name).method.config


# What is said three ways


def test_a_file_the_command_line_and_python_say_the_same(world, tmp_path):
    said = asked(world, tasks=["pope"], seeds=[1, 3], limit=5)
    nested = {**said, "set": {"loss": {"beta": 0.2}, "train": {"lr": 1e-4, "lora": {"r": 4}}}}
    python = run_config({**said, "set": {"loss.beta": 0.2, "train.lr": 1e-4, "train.lora.r": 4}})
    assert run_config(nested).identity() == python.identity()

    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(nested))
    assert run_config({}, file).identity() == python.identity()

    words = {"loss.beta": "0.2", "train.lr": "1e-4", "train.lora.r": "4"}
    line = run_config({**said, "tasks": "pope", "seeds": "1,3", "set": words})
    assert line.identity() == python.identity()


def test_what_is_given_stands_over_the_file_setting_by_setting(world, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(asked(world, set={"loss": {"beta": 0.3}, "train.lr": 0.01})))
    config = run_config({"set": {"loss.beta": "0.2"}, "seeds": "2"}, file)
    assert config.set == {"loss.beta": 0.2, "train.lr": 0.01}
    assert config.seeds == [0, 1]
    assert config.source == asked(world)["source"]


def test_the_recorded_command_asks_for_the_same_run(world):
    import shlex
    from unittest.mock import patch

    from harness import cli

    changed = {"loss.beta": 0.2, "train.lora": None, "train.freeze": ["a b", "null"], "x": "null"}
    asks = {"method": "dpo", "tasks": "pope", "seeds": 2, "source": {"pope": "p.jsonl"}}
    config = run_config({**asks, "set": {**changed, "y": '"1"', "z": "word"}})
    found = []
    words = shlex.split(command(config))[1:]
    with (
        patch.object(plan, "make_plan", side_effect=lambda c: found.append(c) or exit()),
        pytest.raises(SystemExit),
    ):
        cli.app(words, standalone_mode=False)
    assert found[0].identity() == config.identity()


@pytest.mark.parametrize(
    ("given", "seeds"),
    [("5", [0, 1, 2, 3, 4]), (5, [0, 1, 2, 3, 4]), ([1, 3], [1, 3]), ("1,3", [1, 3]), ("4,", [4])],
)
def test_seeds_are_a_number_or_a_list(given, seeds):
    assert RunConfig(method="a", tasks="b", seeds=given).seeds == seeds


@pytest.mark.parametrize("given", ["x", "1,x", 0, -1, "-3", [], [-1], "1.5", 2.5, True, [2**32]])
def test_other_seeds_are_an_error(given):
    with pytest.raises(HarnessError, match="seeds"):
        run_config({"method": "a", "tasks": "b", "seeds": given})


def test_repeated_names_and_seeds_count_once():
    config = RunConfig(method="a,b,a", tasks=["t", "t"], seeds="1,1,2")
    assert (config.method, config.tasks, config.seeds) == (["a", "b"], ["t"], [1, 2])


plain = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=5)
names = st.text("abc-/.1", min_size=1, max_size=6)
configs = st.builds(
    RunConfig,
    method=st.lists(names, min_size=1, max_size=3),
    tasks=st.lists(names, min_size=1, max_size=3),
    model=st.none() | names,
    source=st.dictionaries(names, names, max_size=2),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3),
    set=st.dictionaries(names, plain | st.lists(plain, max_size=3), max_size=3),
    limit=st.none() | st.integers(1, 99),
)


@given(configs)
def test_a_config_survives_json_with_its_identity(config):
    again = RunConfig.model_validate(json.loads(config.model_dump_json()))
    assert again == config
    assert again.identity() == config.identity()


@given(configs, names, names)
def test_identity_is_what_is_asked_and_not_where_it_is_written(config, runs, leaderboards):
    moved = config.model_copy(update={"runs": runs, "leaderboards": leaderboards})
    assert moved.identity() == config.identity()
    assert config.model_copy(update={"split": "dev"}).identity() != config.identity()
    assert config.model_copy(update={"seeds": [100]}).identity() != config.identity()


junk = st.recursive(
    plain | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(list(RunConfig.model_fields)), junk, max_size=4))
def test_any_other_settings_are_an_error_in_words(given):
    with suppress(HarnessError):
        assert run_config({"method": "a", "tasks": "b", **given}).identity()


# Overrides


@pytest.mark.parametrize(
    "given",
    [{"loss.beta": 0.2}, {"loss": {"beta": 0.2}}, {"loss.beta": "0.2"}, {"loss": "{beta: 0.2}"}],
    ids=str,
)
def test_overrides_are_dotted_or_nested(given, world):
    plan = planned(world, set=given)
    assert config_of(plan, "dpo").loss.beta == 0.2
    assert plan.arms[1].overrides == {"loss.beta": 0.2}


def test_overrides_of_a_section_that_is_absent(world):
    lora = config_of(planned(world, set={"train.lora.r": 4}), "dpo").train.lora
    assert (lora.r, lora.alpha) == (4, 32)
    assert config_of(planned(world, set={"train.lora": {}}), "dpo").train.lora.r == 16
    assert config_of(planned(world, set={"train.lora": None}), "dpo").train.lora is None
    both = {"train.lora": None, "train.lora.r": 4}
    for order in (both, dict(reversed(both.items()))):
        assert config_of(planned(world, set=order), "dpo").train.lora.r == 4


def test_an_override_goes_to_each_method_that_knows_it(world):
    plan = planned(world, method="dpo,aspo", set={"loss.beta": 0.2, "pairs.limit": 3})
    for name in ("dpo", "aspo"):
        assert config_of(plan, name).loss.beta == 0.2
        assert config_of(plan, name).pairs.limit == 3
    assert plan.arms[0].overrides == {}


def test_an_override_by_the_default_is_none(world):
    beta = load("methods", "dpo").Config().loss.beta
    assert planned(world, set={"loss.beta": beta}).arms[1].overrides == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss.betta": 1}, "no setting 'loss.betta' in base, dpo. Did you mean 'loss.beta'?"),
        ({"beta": 1}, "no setting 'beta'"),
        ({"loss.beta": "much"}, "loss.beta: .*valid number.*'much'"),
        ({"loss.beta": -1}, "loss.beta: .*greater than 0"),
        ({"loss": 3}, "method 'dpo': loss"),
        ({"loss.beta.deep": 3}, "no setting 'loss.beta.deep'"),
        ({"train.lora": 5}, "train.lora"),
        ({"loss.beta": ".nan"}, "not a finite number"),
        ({"loss.beta": ".inf"}, "not a finite number"),
        ({"train.schedule": "wild"}, "'cosine', 'linear' or 'constant'"),
    ],
    ids=str,
)
def test_a_wrong_override_is_an_error_naming_it(given, message, world):
    with pytest.raises(HarnessError, match=message):
        planned(world, set=given)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["loss", "loss.beta", "train.lora", "train.lora.r"]), junk))
def test_any_override_plans_or_is_an_error_in_words(world, given):
    with suppress(HarnessError):
        assert planned(world, set=given).arms[0].name == "base"


# What does not fit


def test_a_role_mismatch_is_an_error_before_anything_is_loaded(world, monkeypatch):
    monkeypatch.setattr(load("methods", "dpo"), "role", "translator")
    with pytest.raises(HarnessError) as caught:
        planned(world, model="no/such/model", dataset="no such dataset")
    assert str(caught.value).startswith(
        "method 'dpo' trains a translator model, task 'pope' scores a vision-language model."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "vast"}, "profile 'vast'"),
        ({"profile": "vast", "source": {}, "method": "base"}, "give --model"),
        ({"profile": "vast", "source": {}, "method": "base", "model": "m"}, "has no source in"),
        ({"source": {"shr": "x.jsonl"}}, "source for 'shr', which is not among the tasks"),
        ({"source": {"pope": "missing.jsonl"}}, "missing.jsonl: no such file"),
        ({"split": "dev"}, "no dev split"),
        ({"method": "dqo"}, "no method 'dqo'. Did you mean 'dpo'?"),
        ({"baseline": "bse"}, "no method 'bse'. Did you mean 'base'?"),
        ({"split": "train"}, "split: .*'test' or 'dev'"),
    ],
    ids=str,
)
def test_what_is_not_there_is_an_error_naming_it(given, message, world):
    with pytest.raises(HarnessError, match=message):
        make_plan(run_config({**asked(world), "model": None, **given}))


def test_a_method_without_a_preset_takes_model_and_dataset_from_the_user(world):
    plan = planned(world, profile="vast")
    assert plan.arms[1].dataset == str(world / "pairs.jsonl")
    assert plan.arms[1].model == str(world / "model")


def test_a_limit_takes_the_first_items(world):
    whole, limited = planned(world), planned(world, limit=4)
    assert list(limited.tasks[0].items) == list(whole.tasks[0].items)[:4]
    assert limited.tasks[0].ref.fingerprint != whole.tasks[0].ref.fingerprint


# The dry run


def test_a_dry_run_shows_sizes_and_writes_nothing(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planned(world, seeds=2)
    text = plan_text(plan)
    assert "dpo seed 1: train" in text
    assert "(6 rows)" in text
    (pope,) = (each.ref for each in plan.tasks)
    assert pope.source == f"pope.jsonl@{pope.fingerprint[:8]}", "two files of a name are two"
    assert f"pope: 9 items of {pope.source} (test), about 1 request(s) each, for 3 model" in text
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_memory_training_takes(world):
    text = plan_text(planned(world, set={"train.lora.r": 4}))
    assert "a card needs" in text
    assert "activations come on top: 24 GB leaves" in text
    assert "a saved step takes" in text


def test_a_dry_run_names_what_cannot_be_prepared(world, tmp_path):
    plan = planned(world, set={"train.lora.targets": ["q_prj"]})
    with pytest.raises(HarnessError, match="q_prj"):
        plan_text(plan)
