"""The dual-encoder role: pictures and texts as vectors of one space, for CLIP-style models."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MODEL_MAPPING, AutoModel

from harness.errors import DataError
from harness.models import open_clip
from harness.models.loading import is_open_clip
from harness.models.pictures import Picture, open_picture
from harness.models.pretrained import read_config, read_model, read_processor
from harness.models.role import RoleModel

LARGEST_SCALE = 100.0
"""What the scale of similarities is clamped to, as CLIP's authors do."""

VISUAL = ("vision_model.", "visual_projection.")
"""Parts of names of the weights that see pictures."""


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
        kind: Any = MODEL_MAPPING[type(read_config(folder))]
        if not hasattr(kind, "get_image_features"):
            raise ValueError(f"{kind.__name__} has no features of images and of texts")
        module = read_model(AutoModel, folder, device, dtype, cls.role)
        if not hasattr(module, "logit_scale"):
            raise ValueError(f"{kind.__name__} has no scale of similarities")
        return cls(module, read_processor(folder))

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

    def pixels(self, images: Sequence[Picture]) -> Tensor:
        """Pictures as the model takes them, on the CPU, [pictures, 3, height, width]."""
        opened = [open_picture(image) for image in images]
        found: Tensor = self.processor.image_processor(images=opened, return_tensors="pt")[
            "pixel_values"
        ]
        return found

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as the model takes them, on the CPU, cut at its longest.

        SigLIP is trained on texts padded to its longest, without a mask; others are padded to the
        longest of the batch.
        """
        longest = self.module.config.text_config.max_position_embeddings
        whole = "attention_mask" not in self.tokenizer.model_input_names
        found = self.tokenizer(
            list(texts),
            padding="max_length" if whole else True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        return {k: v for k, v in found.items() if k in ("input_ids", "attention_mask")}

    def image_features(self, pixels: Tensor) -> Tensor:
        """Unit vectors of preprocessed pictures, [pictures, width], with gradient."""
        out = self.module.get_image_features(pixels.to(self.device, self.dtype))
        return functional.normalize(_pooled(out).float(), dim=-1)

    def text_features(self, tokens: dict[str, Tensor]) -> Tensor:
        """Unit vectors of tokenized texts, [texts, width], with gradient."""
        moved = {name: tokens[name].to(self.device) for name in self.text_inputs}
        out = self.module.get_text_features(**moved)
        return functional.normalize(_pooled(out).float(), dim=-1)

    @property
    def text_inputs(self) -> Sequence[str]:
        """What the text tower takes: a mask where it looks ahead. CLIP's does not, and padding
        follows the end that it reads: without a mask attention is the faster kernel's."""
        masked = "attention_mask" in self.tokenizer.model_input_names
        causal = self.module.config.model_type == "clip" and self.tokenizer.padding_side == "right"
        return ["input_ids", "attention_mask"] if masked and not causal else ["input_ids"]

    def readers(self, tokens: int, rows: int) -> Sequence[tuple[Iterable[nn.Parameter], int]]:
        """As of any role: each row's picture is read by its own tower, patch by patch."""
        named = list(self.module.named_parameters())
        pictures = rows * self.module.vision_model.embeddings.num_positions
        return [
            ([weight for name, weight in named if any(p in name for p in VISUAL) is seen], count)
            for seen, count in ((True, pictures), (False, tokens))
        ]

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
