import pytest

from harness.method import MethodConfig
from methods.ctsd.plugin import (
    Beam,
    Blocking,
    Ce,
    Ct,
    Ctsd,
    CtsdAttention,
    CtsdDistance,
    CtsdSimilarity,
    Penalty,
    Unlikelihood,
)

VARIANTS = {
    CtsdSimilarity: {"decay": "none"},
    CtsdDistance: {"similarity": "none"},
    CtsdAttention: {"similarity": "attention"},
    Ct: {"similarity": "none", "decay": "none"},
    Unlikelihood: {"term": "unlikelihood"},
    Ce: {"term": "none"},
}
REMEDIES = {
    Blocking: {"no_repeat_ngram_size": 4},
    Penalty: {"repetition_penalty": 1.2},
    Beam: {"num_beams": 4},
}


@pytest.mark.parametrize("method", VARIANTS)
def test_a_variant_differs_from_ctsd_by_its_own_fields_and_keeps_them(method):
    plain = Ctsd.Config().loss.model_dump()
    for given in ({}, {"loss": {"strength": 0.3}}):
        found = method.Config.model_validate(given).loss.model_dump()
        expected = {**plain, **VARIANTS[method], **given.get("loss", {})}
        assert found == expected


@pytest.mark.parametrize("method", [Ctsd, *VARIANTS])
@pytest.mark.parametrize("profile", ["lab", "paper"])
def test_presets_are_valid_and_alike_but_for_the_loss(method, profile):
    config = method.Config.model_validate(method.presets[profile].config)
    reference = Ctsd.Config.model_validate(Ctsd.presets[profile].config)
    assert isinstance(config, MethodConfig)
    assert (config.train, config.data) == (reference.train, reference.data)
    assert method(config).generation() == {}


@pytest.mark.parametrize("method", REMEDIES)
def test_a_remedy_trains_nothing_and_decodes_otherwise(method):
    assert not method.trains
    assert method(method.Config()).generation() == REMEDIES[method]


def test_a_trained_method_may_also_decode_by_a_remedy():
    config = Ct.Config.model_validate({"decoding": {"no_repeat_ngram_size": 3, "num_beams": 2}})
    assert Ct(config).generation() == {"no_repeat_ngram_size": 3, "num_beams": 2}


def test_a_remedy_that_is_set_to_nothing_is_plain_decoding():
    config = Blocking.Config.model_validate({"decoding": {"no_repeat_ngram_size": 0}})
    assert Blocking(config).generation() == {}
