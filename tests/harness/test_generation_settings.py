"""Generation settings are those of the roles' own calls."""

import importlib
import inspect

import pytest

from harness.models import ROLES
from harness.models.generation_settings import BY_ROLE, problem

CALLS = {"causal-lm": "generate", "vision-language": "generate", "translator": "translate"}
LEFT_OUT = {"samples", "transform"}
"""An item's request has one answer; and no card can hold a function."""


@pytest.mark.parametrize("role", CALLS)
def test_they_are_the_keywords_of_the_call(role):
    module, _, name = ROLES[role].partition(":")
    call = getattr(getattr(importlib.import_module(module), name), CALLS[role])
    keywords = {
        each.name: each.annotation
        for each in inspect.signature(call).parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.name not in LEFT_OUT
    }
    assert {name: info.annotation for name, info in BY_ROLE[role].model_fields.items()} == keywords


def test_every_role_has_some():
    assert BY_ROLE.keys() == ROLES.keys()


@pytest.mark.parametrize("value", ["4", 4.5, True, None, 0, -1, [4], 2**70, float("nan")])
def test_a_wrong_value_is_named(value):
    if value == 2**70:
        assert "seed: " in problem(BY_ROLE["causal-lm"], {"seed": value})
    assert "max_new_tokens: " in problem(
        BY_ROLE["translator"], {"max_new_tokens": value if value != 2**70 else 0}
    )


@pytest.mark.parametrize("name", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", -0.1])
def test_probabilities_are_finite(name, value):
    assert f"{name}: " in problem(BY_ROLE["causal-lm"], {name: value})


def test_whole_numbers_are_temperatures():
    assert problem(BY_ROLE["causal-lm"], {"temperature": 1, "top_p": 1}) == ""
