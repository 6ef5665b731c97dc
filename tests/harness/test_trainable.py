"""What settings name in a model to freeze or adapt: refused in one line where it is not there."""

import pytest
import training_worker
from tiny_llava import tiny_llava

import harness
from harness.errors import HarnessError
from harness.settings import Lora, TrainSettings
from harness.training import prepare
from methods.aspo.plugin import Dpo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def model(folder, tmp_path):
    return training_worker.make_fit(folder, tmp_path).model


def lora(targets, **more) -> TrainSettings:
    return TrainSettings(lora=Lora(r=2, targets=targets), **more)


REFUSED = {
    "a misspelt part to freeze": (
        TrainSettings(freeze=["vison_tower"]),
        r"train.freeze: 'vison_tower' is in no parameter's name. Did you mean 'vision_tower'\?",
    ),
    "one misspelt part of two": (
        TrainSettings(freeze=["vision_tower", "lm_haed"]),
        r"'lm_haed' is in .*Did you mean 'lm_head'\?",
    ),
    "everything frozen": (TrainSettings(freeze=["model", "lm_head"]), "leaves nothing to train"),
    "an empty part": (TrainSettings(freeze=[""]), "leaves nothing to train"),
    "all adapters frozen": (lora(["q_proj"], freeze=["q_proj"]), "leaves nothing to train"),
    "a misspelt target": (
        lora(["q_porj"]),
        r"targets: 'q_porj' is the name of no layer. Did you mean 'q_proj'\?.*Linear layers: .*v_p",
    ),
    "one misspelt target of two": (lora(["q_proj", "v_porj"]), r"'v_porj' .*'v_proj'"),
    "a pattern that means nothing": (lora(r".*\.(q_porj|w)"), "is the name of no layer"),
    "a name where a pattern belongs": (lora("q_proj"), r"whole names: give a list, \[q_proj\]"),
    "a broken pattern": (lora("(q_proj"), "not a regular expression: missing"),
    "no target": (lora([]), "is empty"),
    "a layer that cannot be adapted": (lora(["mlp"]), "train.lora: peft refuses it: .*supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_in_one_line(model, case):
    settings, message = REFUSED[case]
    with pytest.raises(HarnessError, match=message) as found:
        prepare(model, settings)
    assert "\n" not in str(found.value)


def test_frozen_adapters_leave_the_others_to_train(model):
    prepare(model, lora("all-linear", freeze=["vision_tower", "multi_modal_projector"]))
    trains = [name for name, each in model.module.named_parameters() if each.requires_grad]
    assert trains
    assert all("lora_" in name and "language_model" in name for name in trains)


def test_a_list_and_a_pattern_mean_the_same_layers(folder, tmp_path):
    trained = []
    for number, targets in enumerate((["q_proj", "v_proj"], r".*\.(q_proj|v_proj)")):
        model = training_worker.make_fit(folder, tmp_path / str(number)).model
        prepare(model, lora(targets))
        named = model.module.named_parameters()
        trained.append([name for name, each in named if each.requires_grad])
    assert trained[0] == trained[1] != []


def test_a_run_refuses_it_before_the_method_prepares_anything(monkeypatch, tmp_path):
    prepared = []
    monkeypatch.setattr(Dpo, "fit", lambda self, fit: prepared.append(fit))
    asked = {"method": "dpo", "baseline": "dpo", "tasks": "pope", "limit": 1}
    asked["set"] = {"train.freeze": ["vison"]}
    with pytest.raises(HarnessError, match="'vison' is in no parameter's name"):
        harness.run(**asked, runs=tmp_path, leaderboards=tmp_path / "leaderboards")
    assert prepared == []
