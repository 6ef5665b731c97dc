"""Views of a catalogue as batches: pictures, titles, and the concepts of the titles."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.dataset import Row
from harness.models.batches import in_batches
from harness.models.dual_encoder import DualEncoder
from methods.fashionklip.rows import View

PROMPT = "prompt_"
"""What the names of a batch's prompts begin with."""
KEPT_BYTES = 512 * 2**20
"""Most memory for preprocessed pictures; a larger catalogue is read anew for every batch."""


class Catalogue:
    """The views that are trained on.

    Args:
        rows: of the dataset, with the pictures.
        views: which of them, with their titles; pictures that can be read (`rows.broken`).

    Attributes:
        products: code of each view's product, [views].
        texts: code of each view's title, [views]; equal titles have the same.
    """

    def __init__(self, model: DualEncoder, rows: Sequence[Row], views: Sequence[View]) -> None:
        self._model = model
        self._rows = rows
        self.views = views
        self.products = _codes([view.product for view in views])
        self.texts = _codes([view.title for view in views])
        self._titles = Texts.of(model, [view.title for view in views])
        self._pixels = self._preprocessed()

    def __len__(self) -> int:
        return len(self.views)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Preprocessed pictures of views, [views, 3, height, width]."""
        if self._pixels is not None:
            return self._pixels[indices]
        return self._read(indices)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Pictures and titles of views as the model takes them, and which belong together."""
        return {
            "pixel_values": self.pixels(indices),
            **self._titles.batch(indices),
            "product": self.products[indices],
            "text": self.texts[indices],
        }

    def encoded(self, share: Sequence[int]) -> Tensor:
        """Unit vectors of some views by the model as it is now, fp32 [views, width], on the CPU."""
        parts: list[Tensor] = []

        def encode(some: Sequence[int]) -> None:
            parts.append(self._model.image_features(self.pixels(some)).cpu())

        with torch.inference_mode():
            in_batches(self._model, share, encode)
        return torch.cat(parts) if parts else torch.empty(0)

    def _read(self, indices: Sequence[int]) -> Tensor:
        rows = (self._rows[self.views[index].row] for index in indices)
        return self._model.pixels([row["image"] for row in rows])

    def _preprocessed(self) -> Tensor | None:
        first = self._read([0])
        if first.numel() * first.element_size() * len(self) > KEPT_BYTES:
            return None
        found = first.new_empty(len(self), *first.shape[1:])
        for some in torch.arange(len(self)).split(self._model.batch_size):
            found[some] = self._read(some.tolist())
        return found


class WithConcepts:
    """A catalogue whose batches also have the concepts of their titles.

    Args:
        prompts: of each concept; the first is the empty prompt, of no concept.
        slots: which concepts each view's title has, [views, slots], -1 for none.
    """

    def __init__(
        self, catalogue: Catalogue, model: DualEncoder, prompts: Sequence[str], slots: Tensor
    ) -> None:
        self._catalogue = catalogue
        self.slots = slots
        self._prompts = Texts.of(model, prompts)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`Catalogue.batch` with the prompts of the batch's different concepts, the empty one
        first: each is encoded once, and padded among its like."""
        slots = self.slots[indices]
        concepts = torch.cat([torch.tensor([-1]), slots[slots >= 0].unique()])
        prompts = {f"{PROMPT}{k}": v for k, v in self._prompts.batch(concepts + 1).items()}
        return {**self._catalogue.batch(indices), **prompts, "concepts": concepts, "slots": slots}


class Texts:
    """Tokenized texts, which batches are cut from.

    Args:
        ids: padded on the right, int [texts, length].
        lengths: without the padding, [texts].
    """

    def __init__(self, ids: Tensor, lengths: Tensor) -> None:
        self.ids = ids.int()
        self.lengths = lengths

    @classmethod
    def of(cls, model: DualEncoder, texts: Sequence[str]) -> "Texts":
        """By a model's tokenizer; SigLIP's have their full length."""
        found = model.tokens(texts)
        ids = found["input_ids"]
        return cls(ids, found.get("attention_mask", torch.ones_like(ids)).sum(1))

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """Token ids of some texts and their mask, as long as the longest, [texts, length] each."""
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        mask = torch.arange(longest) < lengths[:, None]
        return {"input_ids": self.ids[indices, :longest].long(), "attention_mask": mask.long()}


def _codes(names: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.unique(np.asarray(names), return_inverse=True)[1])
