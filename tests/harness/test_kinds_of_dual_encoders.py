"""Every kind of dual encoder against its own transformers class: features, cost, training."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from test_dual_encoder import TEXTS, WORDS, pictures
from tiny_dual_encoders import KINDS, PATCHES
from torch.nn import functional
from transformers import AutoModel, AutoProcessor

from harness.errors import HarnessError
from harness.models import loading
from harness.models.dual_encoder import DualEncoder

POSITIONS = {"siglip": 4, "siglip2": PATCHES}
"""Of a picture; the other kinds have one more than patches."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return cache(lambda kind: KINDS[kind](tmp_path_factory.mktemp(kind), WORDS))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def by_hand(folder: Path, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Unit vectors of pictures and texts, and the whole output, by transformers alone."""
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    longest = {"siglip": 16, "siglip2": 64}.get(model.config.model_type)
    padding = {"padding": "max_length", "max_length": longest} if longest else {"padding": True}
    inputs = processor(text=texts, images=pictures(5), return_tensors="pt", **padding)
    shown = {k: v for k, v in inputs.items() if k in processor.image_processor.model_input_names}
    said = {k: v for k, v in inputs.items() if k not in shown}
    with torch.inference_mode():
        images = model.get_image_features(**shown).pooler_output
        vectors = model.get_text_features(**said).pooler_output
        return functional.normalize(images), functional.normalize(vectors), model(**inputs)


def test_features_are_those_of_transformers_with_the_processors_own_inputs(folders, kind) -> None:
    images, texts, whole = by_hand(folders(kind), TEXTS)
    ours = loading.load(folders(kind), "dual-encoder")
    torch.testing.assert_close(ours.encode_images(pictures(5)), images)
    torch.testing.assert_close(ours.encode_texts(TEXTS), texts)
    # What a training compares is the output of the whole forward.
    torch.testing.assert_close(images, whole.image_embeds)
    torch.testing.assert_close(texts, whole.text_embeds)
    assert not torch.allclose(texts[0], texts[1], atol=1e-3)
    assert not torch.allclose(images[0], images[1], atol=1e-3)
    torch.testing.assert_close(ours.scale.squeeze(), ours.module.logit_scale.squeeze().exp())


def test_a_text_longer_than_the_model_reads_is_cut(folders, kind) -> None:
    ours = DualEncoder.load(folders(kind))
    vectors = ours.encode_texts(["red " * 100, "red " * 120, "red"])
    assert torch.equal(vectors[0], vectors[1])
    assert torch.isfinite(vectors).all() and not torch.allclose(vectors[0], vectors[2], atol=1e-3)
    whole = ours.texts(["red " * 100])
    most = {"siglip2": 64}.get(kind, 16)
    assert len(whole.flat) == most


def test_a_training_counts_what_each_tower_reads(folders, kind) -> None:
    ours = DualEncoder.load(folders(kind))
    (seen, patches), (said, tokens) = ours.readers(70, 3)
    assert (patches, tokens) == (3 * POSITIONS.get(kind, 5), 70)
    seen, said = set(seen), set(said)
    module = ours.module
    assert set(module.vision_model.parameters()) <= seen
    assert set(module.text_model.parameters()) <= said
    assert seen.isdisjoint(said) and seen | said == set(module.parameters())


def test_what_was_saved_gives_the_same_features(folders, kind, tmp_path) -> None:
    ours = loading.load(folders(kind), "dual-encoder")
    ours.save(tmp_path / "again")
    again = loading.load(tmp_path / "again", "dual-encoder")
    assert torch.equal(again.encode_texts(TEXTS), ours.encode_texts(TEXTS))
    assert torch.equal(again.encode_images(pictures(2)), ours.encode_images(pictures(2)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_stands_where_the_tokenizer_puts_it(folders, kind, side) -> None:
    ours = DualEncoder.load(folders(kind))
    ours.tokenizer.padding_side = side
    longest = {"siglip": 16, "siglip2": 64}.get(kind)
    padding = {"padding": "max_length", "max_length": longest} if longest else {"padding": True}
    theirs = ours.tokenizer(TEXTS, return_tensors="pt", **padding)
    found = ours.tokens(TEXTS)
    for name in ours.text_inputs:
        assert torch.equal(found[name], theirs[name])


def test_a_processor_that_needs_torchvision_is_one_line(tmp_path) -> None:
    path = KINDS["vit-bert"](tmp_path / "model", WORDS) / "processor_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["image_processor"]["image_processor_type"] = "Sam2ImageProcessor"
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(HarnessError, match=r"dual-encoder model: .*torchvision") as error:
        loading.load(tmp_path / "model", "dual-encoder")
    assert "\n" not in str(error.value)


def test_padding_that_siglip_reads_is_counted(folders) -> None:
    ours = DualEncoder.load(folders("siglip"))
    assert ours.tokens(TEXTS)["attention_mask"].sum() == 16 * len(TEXTS)


def test_a_siglip_whose_tokenizer_masks_is_still_read_at_its_last_position(folders) -> None:
    ours = DualEncoder.load(folders("siglip"))
    ours.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    alone = [ours.encode_texts([text])[0] for text in TEXTS]
    torch.testing.assert_close(ours.encode_texts(TEXTS), torch.stack(alone))
    theirs = ours.tokenizer(TEXTS, padding="max_length", max_length=16, return_tensors="pt")
    found = ours.tokens(TEXTS)
    assert torch.equal(found["input_ids"], theirs["input_ids"])
    assert torch.equal(found["attention_mask"], theirs["attention_mask"])
