import pytest

from harness.method import MethodConfig
from methods.aspo.plugin import Aspo, AspoOracle, AspoP, AspoRandom, AspoS, Dpo

METHODS = [Aspo, AspoS, AspoP, Dpo, AspoRandom, AspoOracle]


@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        (Aspo, "alpha", 0.5),
        (AspoS, "alpha", 1.0),
        (AspoP, "alpha", 0.0),
        (Dpo, "weights", "none"),
        (AspoRandom, "weights", "random"),
        (AspoOracle, "weights", "oracle"),
    ],
)
def test_a_variant_keeps_its_own_default_where_a_user_changes_another_field(method, field, value):
    config = method.Config.model_validate({"loss": {"beta": 0.3}})
    assert getattr(config.loss, field) == value
    assert config.loss.beta == 0.3
    assert getattr(method.Config().loss, field) == value


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", ["lab", "paper"])
def test_presets_are_valid_and_alike_but_for_the_loss(method, profile):
    config = method.Config.model_validate(method.presets[profile].config)
    reference = Aspo.Config.model_validate(Aspo.presets[profile].config)
    assert isinstance(config, MethodConfig)
    assert config.pairs == reference.pairs
    assert config.train == reference.train
    changed = {
        name
        for name, value in config.loss.model_dump().items()
        if value != reference.loss.model_dump()[name]
    }
    assert len(changed) == (method is not Aspo)


def test_paper_adapters_sit_in_the_language_model_alone(tmp_path):
    import re

    from tiny_llava import tiny_llava
    from transformers import AutoModelForImageTextToText

    pattern = Aspo.presets["paper"].config["train"]["lora"]["targets"]
    module = AutoModelForImageTextToText.from_pretrained(tiny_llava(tmp_path))
    adapted = [name for name, _ in module.named_modules() if re.fullmatch(pattern, name)]
    assert len(adapted) == 2 * 7
    assert all(".language_model." in name for name in adapted)
