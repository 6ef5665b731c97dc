"""The dual-encoder role: pictures and texts as vectors of one space, for CLIP-style models."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoProcessor

from harness.errors import DataError
from harness.models import open_clip
from harness.models.lengths import pad_id, positions
from harness.models.loading import is_open_clip
from harness.models.pictures import Picture, open_picture
from harness.models.role import RoleModel
from harness.models.texts import Texts

LARGEST_SCALE = 100.0
"""What the scale of similarities is clamped to, as CLIP's authors do."""

VISUAL = re.compile(r"(?:^|\.)(?:vision|visual|image)_\w+\.")
"""Found in the names of the weights that see pictures: `vision_model.`, `visual_projection.`"""
TOKENIZED = 4096
"""Texts that are tokenized at once."""


class DualEncoder(RoleModel):
    """A CLIP- or SigLIP-style model with its processor; `module` is the plain transformers model.

    Args:
        module: a model with `get_image_features` and `get_text_features`.
        processor: its image processor and tokenizer.
        batch_size: pictures or texts encoded at once.
    """

    role = "dual-encoder"
    reader = "processor"

    def __init__(self, module: Any, processor: Any, batch_size: int = 64) -> None:
        self.module = module
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.batch_size = batch_size

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "DualEncoder":
        """Read a Hugging Face folder (or hub name), or open_clip's folder, onto a device."""
        module: Any
        if is_open_clip(Path(folder)):
            module, processor = open_clip.read(Path(folder))
            return cls(module.to(device, dtype).eval(), processor)
        module = AutoModel.from_pretrained(folder, dtype=dtype)
        if not hasattr(module, "get_image_features") or not hasattr(module, "logit_scale"):
            raise ValueError(f"{type(module).__name__} has no features of images and of texts")
        return cls(module.to(device).eval(), AutoProcessor.from_pretrained(folder))

    @property
    def scale(self) -> Tensor:
        """What similarities are multiplied by, exp(logit_scale), at most 100; with gradient."""
        clamped: Tensor = self.module.logit_scale.exp().clamp(max=LARGEST_SCALE)
        return clamped

    def encode_images(self, images: Sequence[Picture]) -> Tensor:
        """Pictures as unit vectors, fp32 [pictures, width], on the CPU, without gradient."""
        parts = (self.image_features(self.pixels(some)) for some in self._batches(images))
        return self._encoded(parts)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as unit vectors, fp32 [texts, width], on the CPU, without gradient.

        Equal texts are encoded once; texts of like length together.
        """
        different = sorted(set(texts), key=lambda text: (len(text), text))
        parts = (self.text_features(self.tokens(some)) for some in self._batches(different))
        vectors = self._encoded(parts)
        place = {text: index for index, text in enumerate(different)}
        return vectors[[place[text] for text in texts]]

    def pixels(self, images: Sequence[Picture]) -> dict[str, Tensor]:
        """Return pictures as the model takes them, on the CPU, by `picture_inputs`.

        Mostly `pixel_values` alone, [pictures, 3, height, width].
        """
        opened = [open_picture(image) for image in images]
        found = self.processor(images=opened, return_tensors="pt")
        return {name: found[name] for name in self.picture_inputs}

    def texts(self, texts: Sequence[str], most: int | None = None) -> Texts:
        """Tokenize texts, each cut at the model's longest, or at so many tokens.

        SigLIP reads the last position, so that its texts are padded to the longest that it takes,
        as are those of a tokenizer without a mask; others to the longest of a batch.
        """
        # Some tokenizers say int(1e30) where they have no limit, some models have none either.
        longest = min(positions(self.module), self.tokenizer.model_max_length)
        rows = [
            row
            for start in range(0, len(texts), TOKENIZED)
            for row in self.tokenizer(
                list(texts[start : start + TOKENIZED]),
                truncation=True,
                max_length=min(longest, most or longest),
            )["input_ids"]
        ]
        last = self.module.config.get_text_config().model_type.startswith("siglip")
        return Texts(
            torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int32),
            torch.tensor([len(row) for row in rows]),
            pad_id(self.tokenizer),
            self.tokenizer.padding_side,
            longest if last or not self._masked else None,
            self._masked,
        )

    def tokens(self, texts: Sequence[str], most: int | None = None) -> dict[str, Tensor]:
        """Return texts as one batch on the CPU: `texts` with padding and mask."""
        return self.texts(texts, most).batch(range(len(texts)))

    def image_features(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors of preprocessed pictures, [pictures, width], with gradient."""
        out = self.module.get_image_features(**self._on_device(pixels))
        return functional.normalize(_pooled(out).float(), dim=-1)

    def text_features(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Unit vectors of tokenized texts, [texts, width], with gradient."""
        moved = {name: tokens[name].to(self.device) for name in self.text_inputs}
        out = self.module.get_text_features(**moved)
        return functional.normalize(_pooled(out).float(), dim=-1)

    @property
    def picture_inputs(self) -> Sequence[str]:
        """What the image tower takes."""
        names: Sequence[str] = self.processor.image_processor.model_input_names
        return names

    @property
    def text_inputs(self) -> Sequence[str]:
        """What the text tower takes: a mask where it looks ahead. CLIP's does not, and padding
        follows the end that it reads: without a mask attention is the faster kernel's."""
        causal = self.module.config.model_type == "clip" and self.tokenizer.padding_side == "right"
        return ["input_ids", "attention_mask"] if self._masked and not causal else ["input_ids"]

    @property
    def _masked(self) -> bool:
        return "attention_mask" in self.tokenizer.model_input_names

    def readers(self, tokens: int, rows: int) -> Sequence[tuple[Iterable[nn.Parameter], int]]:
        """As of any role: each row's picture is read by its own tower, position by position.

        Raises `ValueError` where the tower has no positions, or cannot be told from the other.
        """
        named = list(self.module.named_parameters())
        towers = [[w for name, w in named if bool(VISUAL.search(name)) is s] for s in (True, False)]
        if not all(towers):
            raise ValueError("the weights that see pictures cannot be told by their names")
        return list(zip(towers, (rows * self._picture_positions(), tokens), strict=True))

    @torch.inference_mode()
    def _picture_positions(self) -> int:
        """How many positions a picture has in its tower, by one that is looked at."""
        blank = self.pixels([Image.new("RGB", (64, 64))])
        hidden = getattr(
            self.module.get_image_features(**self._on_device(blank)), "last_hidden_state", None
        )
        if hidden is None or hidden.ndim != 3:
            raise ValueError("the tower of pictures has no positions")
        return int(hidden.shape[1])

    def _on_device(self, pixels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            for name, value in pixels.items()
        }

    def _batches(self, values: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(values), self.batch_size):
            yield values[start : start + self.batch_size]

    def _encoded(self, parts: Iterator[Tensor]) -> Tensor:
        with torch.inference_mode():
            found = [part.cpu() for part in parts]
        if not found:
            raise DataError("nothing to encode: no picture and no text.")
        return torch.cat(found)


def _pooled(out: Any) -> Tensor:
    """Features as transformers gives them: a tensor before version 5, then an output's field."""
    pooled: Tensor = out if isinstance(out, Tensor) else out.pooler_output
    return pooled
