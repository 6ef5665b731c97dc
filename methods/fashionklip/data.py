"""Views of a catalogue as batches: pictures, titles, and the concepts of the titles."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from harness.dataset import Dataset, Row
from harness.models.dual_encoder import DualEncoder
from harness.records import is_missing, require
from methods.fashionklip.config import DataSettings

KEPT_BYTES = 512 * 2**20
"""Most memory for preprocessed pictures; a larger catalogue is read anew for every batch."""


class Catalogue:
    """The views that are trained on.

    Attributes:
        titles: of each view.
        products: code of each view's product, [views].
        texts: code of each view's title, [views]; equal titles have the same.
    """

    def __init__(
        self, model: DualEncoder, dataset: Dataset, rows: Sequence[Row], settings: DataSettings
    ) -> None:
        self._model = model
        self._rows = rows[: settings.limit]
        places = [dataset.place(None, index) for index in range(len(self._rows))]
        pairs = list(zip(self._rows, places, strict=True))
        for row, place in pairs:
            require(row, place, "image")
        self.titles = [str(require(*pair, settings.title)).strip() for pair in pairs]
        self.products = _codes([_product(*pair, settings.product) for pair in pairs])
        self.texts = _codes(self.titles)
        self._title_ids = token_ids(model, self.titles)
        self._pixels = self._preprocessed()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def product_titles(self) -> list[str]:
        """The different titles of each product: further views of it say nothing new."""
        pairs = dict.fromkeys(zip(self.products.tolist(), self.titles, strict=True))
        return [title for _, title in pairs]

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Preprocessed pictures of views, [views, 3, height, width]."""
        if self._pixels is not None:
            return self._pixels[indices]
        return self._model.pixels([self._rows[index]["image"] for index in indices])

    def batch(self, indices: Sequence[int], prompts: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """Pictures and titles of views as the model takes them, and which belong together.

        Args:
            prompts: token ids of further texts, behind the titles.
        """
        titles = [self._title_ids[index] for index in indices]
        return {
            "pixel_values": self.pixels(indices),
            **padded(self._model, [*titles, *prompts]),
            "product": self.products[indices],
            "text": self.texts[indices],
        }

    def encoded(self, share: Sequence[int]) -> Tensor:
        """Unit vectors of some views by the model as it is now, fp32 [views, width], on the CPU."""
        size = self._model.batch_size
        with torch.inference_mode():
            parts = [
                self._model.image_features(self.pixels(share[start : start + size])).cpu()
                for start in range(0, len(share), size)
            ]
        return torch.cat(parts) if parts else torch.empty(0)

    def _preprocessed(self) -> Tensor | None:
        first = self._model.pixels([self._rows[0]["image"]])
        if first.numel() * first.element_size() * len(self._rows) > KEPT_BYTES:
            return None
        return torch.cat([self._model.pixels([row["image"]]) for row in self._rows])


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
        self._prompt_ids = token_ids(model, prompts)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`Catalogue.batch` with the prompts of the batch's different concepts behind the titles,
        the empty one first: each is encoded once."""
        slots = self.slots[indices]
        concepts = torch.cat([torch.tensor([-1]), slots[slots >= 0].unique()])
        prompts = [self._prompt_ids[number + 1] for number in concepts.tolist()]
        found = self._catalogue.batch(indices, prompts)
        return {**found, "concepts": concepts, "slots": slots}


def token_ids(model: DualEncoder, texts: Sequence[str]) -> list[Tensor]:
    """Token ids of texts without padding, [length] each; SigLIP's have their full length."""
    found = model.tokens(texts)
    mask = found.get("attention_mask", torch.ones_like(found["input_ids"]))
    return [ids[keep.bool()] for ids, keep in zip(found["input_ids"], mask, strict=True)]


def padded(model: DualEncoder, ids: Sequence[Tensor]) -> dict[str, Tensor]:
    """Token ids padded on the right, with their mask, [texts, length] each."""
    pad = model.tokenizer.pad_token_id or 0
    mask = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
    return {
        "input_ids": pad_sequence(list(ids), batch_first=True, padding_value=pad),
        "attention_mask": mask,
    }


def _codes(names: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.unique(np.asarray(names), return_inverse=True)[1])


def _product(row: Mapping[str, Any], place: str, field: str) -> str:
    for name in (field, "id"):
        if not is_missing(row.get(name)):
            return str(row[name])
    return place
