"""MoDULA's settings as a user gives them."""

from typing import Any

import pytest

from harness.arms import check_overrides, make_arm
from harness.configs import flat, run_config
from harness.errors import HarnessError
from methods.modula.plugin import Lora, Modula, ModulaFlan, Molora

PRESET = Modula.presets["lab"]


def arm_of(method: type, **changed: Any) -> Any:
    config = run_config({"method": "modula", "tasks": "x", "set": changed})
    overrides = flat(config.set)
    check_overrides(overrides, {"modula": method})
    return make_arm("modula", method, config, PRESET.model, overrides)


@pytest.mark.parametrize("method", [Modula, ModulaFlan, Molora, Lora])
def test_a_domain_more_and_less_is_laid_over_the_preset(method):
    usual = arm_of(method).method.config.data.sets
    assert usual == {name: f"lab/errands-{name}" for name in usual} and len(usual) == 5
    changed = {"data.domains.news": "news.jsonl", "data.domains.sums": None}
    arm = arm_of(method, **changed)
    expected = {**usual, "news": "news.jsonl"}
    del expected["sums"]
    assert arm.method.config.data.sets == expected
    assert set(arm.method.datasets()) == set(expected.values())
    assert arm.overrides == changed
    nested = arm_of(method, data={"domains": {"news": "news.jsonl", "sums": None}})
    assert nested.overrides == changed


def test_a_domain_as_the_preset_has_it_is_no_change():
    assert arm_of(Modula, **{"data.domains.sums": "lab/errands-sums"}).overrides == {}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.domain.news", "x", "no setting 'data.domain.news' in modula"),
        ("data.domains", "x", "data.domains: Input should be a valid dictionary"),
        ("data.domains.news", 3, "data.domains.news: Input should be a valid string"),
        ("ranks.expert", 0, "ranks.expert: Input should be greater than or equal to 1"),
        ("ranks.own.news", 0, "ranks.own.news: "),
        ("form", "moe", "form: Input should be 'molora', 'flan'"),
        ("jobs", 0, "jobs: Input should be greater"),
        ("universal.freeze", ["embed"], "universal: lora and freeze have no effect"),
        ("experts.lora.r", 4, "experts: lora and freeze have no effect"),
    ],
)
def test_a_wrong_setting_is_one_line(key, value, message):
    with pytest.raises(HarnessError) as caught:
        arm_of(Modula, **{key: value})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_lora_has_the_ranks_of_all_experts_and_scale_one():
    config = arm_of(Lora, **{"ranks.own.news": 3, "data.domains.news": "news.jsonl"}).method.config
    lora = config.adapter().lora
    assert lora.r == 16 + 5 * 8 + 3 and lora.alpha == lora.r
