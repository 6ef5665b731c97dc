"""Settings that cannot work are refused when they are read, in one line with the field's name."""

import math

import pytest
from pydantic import ValidationError

from harness import arms
from harness.errors import HarnessError
from harness.models.rewriting import Rewriting
from harness.run_config import RunConfig
from methods.poir import plugin
from methods.poir.config import Collect, OproConfig

METHODS = {"poir": plugin.Poir, "opro": plugin.Opro, "cot-suffix": plugin.CotSuffix}


def refused(method, **given):
    """What is said of a setting, as `--set` gives it."""
    config = RunConfig(method=[method], tasks=["errands_prompts"])
    overrides = {name.replace("__", "."): value for name, value in given.items()}
    with pytest.raises(HarnessError) as raised:
        arms.make_arm(method, METHODS[method], config, "lab/errands", overrides)
    said = str(raised.value)
    assert "\n" not in said and "Value error" not in said
    return said


@pytest.mark.parametrize(
    ("method", "field", "lacks"),
    [
        ("poir", "collect__response", "{prompt}"),
        ("poir", "collect__question", "{rewrite}"),
        ("poir", "rewriting__template", "{prompt}"),
        ("opro", "collect__response", "{prompt}"),
        ("opro", "template", "{history}"),
        ("opro", "around", "{prompt}"),
        ("opro", "around", "{text}"),
        ("cot-suffix", "template", "{prompt}"),
    ],
)
def test_a_template_without_its_field_is_refused(method, field, lacks):
    template = "{prompt} {text} {history} {rewrite}".replace(lacks, "")
    said = refused(method, **{field: template})
    assert said.startswith(f"method '{method}': {field.replace('__', '.')}: ") and lacks in said


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_temperature_that_is_no_number_is_refused(value):
    for cls, more in ((Collect, {}), (OproConfig, {}), (Rewriting, {"template": "{prompt}"})):
        with pytest.raises(ValidationError, match="temperature"):
            cls.model_validate({"temperature": value, **more})


@pytest.mark.parametrize(
    ("field", "secret"),
    [
        ("collect__endpoint", "https://user:hunter2@host/v1"),
        ("collect__endpoint", "https://host/v1?key=hunter2"),
        ("collect__endpoint", "hunter2"),
        ("collect__endpoint_key", "sk-hunter2"),
        ("collect__endpoint_key", "hunter2"),  # a key that could be a variable's name
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(field, secret):
    said = refused("poir", **{field: secret})
    assert field.replace("__", ".") in said and "hunter2" not in said


def test_a_key_is_named_by_a_variable_that_is_set(monkeypatch):
    monkeypatch.setenv("SERVER_KEY", "hunter2")
    assert Collect(endpoint_key="SERVER_KEY").endpoint_key == "SERVER_KEY"
