"""Each role's answers and vectors with too little memory are those with enough."""

import pytest
import torch
from PIL import Image

from harness.models import loading
from harness.models.prefixes import mean_log_probs
from harness.models.prompts import TranslationPrompt

ROOM = 5


def short(function, rows_of):
    """The function, which runs out of memory above so many rows; and how many it was given."""
    given: list[int] = []

    def raising(*arguments, **settings):
        rows = rows_of(arguments, settings)
        given.append(rows)
        if rows > ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return function(*arguments, **settings)

    return raising, given


def of_ids(_, settings) -> int:
    return len(settings["input_ids"])


def loaded(name: str, role: str):
    return loading.load(loading.resolve(name), role)


@pytest.fixture(scope="module")
def errands():
    return loaded("lab/errands", "causal-lm")


@pytest.fixture
def causal(errands):
    errands.batch_size = 64
    return errands


PROMPTS = [f"sort : {' '.join(map(str, range(9 - i % 7, 0, -1)))} =" for i in range(23)]


def test_a_decoder_continues_texts_the_same(causal, monkeypatch, capsys):
    expected = causal.generate(PROMPTS, max_new_tokens=8)
    raising, given = short(causal.module.generate, of_ids)
    monkeypatch.setattr(causal.module, "generate", raising)
    assert causal.generate(PROMPTS, max_new_tokens=8) == expected
    assert max(given) > ROOM and given[-1] <= ROOM
    assert causal.batch_size <= ROOM
    assert "out of memory with" in capsys.readouterr().err


def test_samples_are_those_of_the_batch_size_that_sufficed(causal, monkeypatch):
    asked = {"max_new_tokens": 8, "temperature": 1.0, "samples": 2, "seed": 7}
    causal.batch_size = 4
    expected = causal.generate(PROMPTS[:2], **asked)
    raising, _ = short(causal.module.generate, lambda a, s: 2 * of_ids(a, s))
    monkeypatch.setattr(causal.module, "generate", raising)
    causal.batch_size = 64
    assert causal.generate(PROMPTS[:2], **asked) == expected


def test_trees_of_prefixes_are_scored_the_same(causal, monkeypatch, capsys):
    groups = [[(prompt, "3"), (prompt, "4 5")] for prompt in PROMPTS]
    expected = mean_log_probs(causal, groups)
    raising, given = short(causal.module.forward, of_ids)
    monkeypatch.setattr(causal.module, "forward", raising)
    found = mean_log_probs(causal, groups)
    assert max(given) > ROOM
    assert torch.tensor(found) == pytest.approx(torch.tensor(expected), abs=1e-4)
    assert "out of memory with" in capsys.readouterr().err


def test_lm_evals_interface_answers_the_same(causal, monkeypatch):
    from lm_eval.api.instance import Instance

    from tasks.flan import format as flan

    asked = [
        Instance("loglikelihood", {}, (prompt, f" {answer}"), i)
        for i, (prompt, answer) in enumerate((p, a) for p in PROMPTS for a in ("3", "4"))
    ]
    lm = flan._language_model(causal)
    expected = flan._asked(causal, lm, "loglikelihood", asked)
    raising, given = short(causal.module.forward, lambda a, s: len(a[0]) if a else of_ids(a, s))
    monkeypatch.setattr(causal.module, "forward", raising)
    found = flan._asked(causal, lm, "loglikelihood", asked)
    assert max(given) > ROOM and causal.batch_size <= ROOM
    assert [one[1] for one in found] == [one[1] for one in expected]
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-4)


def test_a_translator_translates_the_same(monkeypatch):
    model = loaded("lab/titles-mature", "translator")
    prompts = [
        TranslationPrompt(f"cotton dress {'red ' * (i % 4)}", "qaa", "qab") for i in range(17)
    ]
    expected = model.translate(prompts, max_new_tokens=12)
    raising, given = short(model.module.generate, of_ids)
    monkeypatch.setattr(model.module, "generate", raising)
    assert model.translate(prompts, max_new_tokens=12) == expected
    assert max(given) > ROOM and model.batch_size <= ROOM


def test_pictures_and_texts_are_encoded_the_same(monkeypatch):
    model = loaded("lab/garments-clip", "dual-encoder")
    pictures = [Image.new("RGB", (32, 32), (9 * i, 20, 200 - 9 * i)) for i in range(19)]
    texts = [f"a red dress number {i}" for i in range(19)]
    expected = model.encode_images(pictures), model.encode_texts(texts)
    for name in ("get_image_features", "get_text_features"):
        raising, given = short(
            getattr(model.module, name), lambda _, settings: len(next(iter(settings.values())))
        )
        monkeypatch.setattr(model.module, name, raising)
    found = model.encode_images(pictures), model.encode_texts(texts)
    assert max(given) <= ROOM  # the pictures' size holds for the texts too
    assert model.batch_size <= ROOM
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
