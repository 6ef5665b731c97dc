"""Entropy of a translator's own words, against a slow computation from whole logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.models.prompts import TranslationPrompt
from harness.models.translator import Translator
from harness.plan import open_data
from methods.ctsd.entropy import Steps, analyse, plot, summary
from methods.ctsd.loss import recurring


@pytest.fixture(scope="module")
def said() -> tuple[Translator, list[TranslationPrompt], list[str]]:
    from harness.models import loading

    model = Translator.load(loading.resolve("lab/titles-young"))
    model.batch_size = 3
    rows = open_data("lab/titles").rows("dev")[:7]
    prompts = [TranslationPrompt(row["source"], "qaa", "qab") for row in rows]
    return model, prompts, [each.text for each in model.translate(prompts, max_new_tokens=40)]


def test_entropies_are_those_of_the_full_softmax_whatever_the_batch(
    said: tuple[Translator, list[TranslationPrompt], list[str]],
) -> None:
    model, prompts, outputs = said
    expected: list[tuple[float, float, bool]] = []
    for prompt, output in zip(prompts, outputs, strict=True):
        (pair,) = model.encode([prompt], [output])
        batch = model.collate([pair])
        labels = batch.pop("labels")[0].tolist()
        batch.pop("label_mask")
        with torch.no_grad():
            p = model.module(**batch).logits[0].double().softmax(-1)
        entropy = -(p * p.log()).sum(-1)
        for t in range(1, len(labels)):
            recent = labels[max(0, t - 4) : t]
            gain = float(entropy[t - 1] - entropy[t])
            expected.append((float(entropy[t]), gain, labels[t] in recent))
    steps = analyse(model, prompts, outputs, window=4)
    found = sorted(zip(*(column.tolist() for column in steps), strict=True))
    np.testing.assert_allclose(found, sorted(expected), atol=2e-5)


def test_a_label_recurs_within_the_window_alone_and_padding_never() -> None:
    labels = torch.tensor([[5, 6, 5, 7, 6, 0, 0]])
    mask = labels != 0
    found = recurring(labels, mask, 2)[0].tolist()
    assert found == [False, False, True, False, False, False, False]
    assert recurring(labels, mask, 3)[0].tolist()[4], "6 stands three before"


def test_numbers_and_drawing_of_steps_with_and_without_repeats(tmp_path: Path) -> None:
    some = Steps(np.array([1.0, 3.0]), np.array([0.5, -0.5]), np.array([True, False]))
    none = Steps(np.array([2.0]), np.array([0.0]), np.array([False]))
    assert summary(some) == {
        "repeated_steps": 1,
        "repeated_entropy": 1.0,
        "repeated_gain": 0.5,
        "other_steps": 1,
        "other_entropy": 3.0,
        "other_gain": -0.5,
    }
    assert summary(none)["repeated_entropy"] is None
    json.dumps(summary(none))
    plot({"some": some, "none": none}, tmp_path / "deep" / "plot.png", "title")
    assert (tmp_path / "deep" / "plot.png").read_bytes().startswith(b"\x89PNG")
