"""The dual-encoder role against plain transformers, on random weights of CLIP and of SigLIP."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_clip import SIDE, tiny_clip
from transformers import AutoModel, AutoProcessor

from harness.errors import HarnessError
from harness.models import loading
from harness.models.dual_encoder import DualEncoder

WORDS = "a red blue green round square shirt dress with long short sleeves photo of"
TEXTS = ["a red shirt", "a blue dress with long sleeves", "a photo of a dress", "a red shirt"]


@pytest.fixture(scope="module", params=[False, True], ids=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("model"), WORDS, siglip=request.param)


def pictures(count: int) -> list[Image.Image]:
    noise = torch.randint(256, (count, 40, 50, 3), generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(each.to(torch.uint8).numpy()) for each in noise]


def test_similarities_are_those_of_transformers(folder: Path) -> None:
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    padding = "max_length" if "siglip" in type(model).__name__.lower() else True
    inputs = processor(text=TEXTS, images=pictures(5), padding=padding, return_tensors="pt")
    with torch.inference_mode():
        out = model(**inputs)
    ours = DualEncoder.load(folder)
    images, texts = ours.encode_images(pictures(5)), ours.encode_texts(TEXTS)
    torch.testing.assert_close(images, out.image_embeds)
    torch.testing.assert_close(texts, out.text_embeds)
    assert not torch.allclose(texts[0], texts[1], atol=1e-3)


def test_batches_and_repeats_change_nothing(folder: Path) -> None:
    model = DualEncoder.load(folder)
    whole = model.encode_images(pictures(5)), model.encode_texts(TEXTS)
    model.batch_size = 2
    torch.testing.assert_close(model.encode_images(pictures(5)), whole[0])
    torch.testing.assert_close(model.encode_texts(TEXTS), whole[1])
    assert torch.equal(whole[1][0], whole[1][3])
    long = model.encode_texts(["red " * 40, "red " * 60])  # cut at the model's longest
    assert torch.equal(long[0], long[1])


def test_gradients_reach_both_towers_and_the_scale_is_bounded(folder: Path) -> None:
    model = DualEncoder.load(folder)
    images = model.image_features(model.pixels(pictures(3)))
    texts = model.text_features(model.tokens(TEXTS[:3]))
    (model.scale * images @ texts.T).sum().backward()
    for part in ("vision_model", "text_model", "logit_scale"):
        named = [p.grad for name, p in model.module.named_parameters() if name.startswith(part)]
        assert any(grad is not None and grad.any() for grad in named), part
    with torch.no_grad():
        model.module.logit_scale.fill_(9.0)
    assert model.scale.item() == 100


def test_what_was_saved_is_read_again(folder: Path, tmp_path: Path) -> None:
    model = loading.load(folder, "dual-encoder")
    model.save(tmp_path / "again")
    again = loading.load(tmp_path / "again", "dual-encoder")
    assert torch.equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))
    assert model.pixels(pictures(2))["pixel_values"].shape == (2, 3, SIDE, SIDE)


def test_a_model_of_another_kind_is_one_line(tmp_path: Path) -> None:
    from tiny_translators import tiny_llama

    with pytest.raises(HarnessError, match="cannot be loaded as a dual-encoder model: LlamaModel"):
        loading.load(tiny_llama(tmp_path / "llama"), "dual-encoder")
