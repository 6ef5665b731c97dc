"""The similarity of sentences and pictures by every kind of dual encoder."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_dual_encoders import KINDS

from harness.models.dual_encoder import DualEncoder
from methods.aspo.data import Pair
from methods.aspo.prepare import similarity_encoder

WORDS = "it is a red blue star circle."
SENTENCES = ["it is red.", "a blue star."]


@pytest.mark.parametrize("kind", KINDS)
def test_a_similarity_is_the_cosine_of_the_roles_own_vectors(kind: str, tmp_path: Path) -> None:
    folder = KINDS[kind](tmp_path, WORDS)
    pairs = [
        Pair(number, Image.new("RGB", (32, 32), (90 * number, 0, 0)), "q", said, "no")
        for number, said in enumerate([" ".join(SENTENCES), SENTENCES[0] + " " + "red " * 40 + "."])
    ]
    found = similarity_encoder(str(folder), 77, torch.device("cpu"))(pairs)
    model = DualEncoder.load(folder)
    images = model.encode_images([pair.image for pair in pairs])
    for image, pair, scores in zip(images, pairs, found, strict=True):
        expected = model.encode_texts(pair.sentences) @ image
        torch.testing.assert_close(torch.tensor(scores), expected, atol=1e-5, rtol=1e-4)
