"""Views of a catalogue as batches: pictures, titles, and the concepts of the titles."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.dataset import Row
from harness.models.dual_encoder import DualEncoder
from harness.stats import codes
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
        self.products = torch.from_numpy(codes([view.product for view in views]))
        self.texts = torch.from_numpy(codes([view.title for view in views]))
        self._titles = model.texts([view.title for view in views])
        self._pixels = self._preprocessed()

    def __len__(self) -> int:
        return len(self.views)

    def pixels(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return preprocessed pictures of views, as `DualEncoder.pixels`."""
        if self._pixels is not None:
            return {name: values[indices] for name, values in self._pixels.items()}
        return self._read(indices)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Pictures and titles of views as the model takes them, and which belong together."""
        return {
            **self.pixels(indices),
            **self._titles.batch(indices),
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

    def _read(self, indices: Sequence[int]) -> dict[str, Tensor]:
        rows = (self._rows[self.views[index].row] for index in indices)
        return self._model.pixels([row["image"] for row in rows])

    def _preprocessed(self) -> dict[str, Tensor] | None:
        first = self._read([0])
        if sum(value.nbytes for value in first.values()) * len(self) > KEPT_BYTES:
            return None
        found = {name: each.new_empty(len(self), *each.shape[1:]) for name, each in first.items()}
        for some in torch.arange(len(self)).split(self._model.batch_size):
            for name, values in self._read(some.tolist()).items():
                found[name][some] = values
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
        self._prompts = model.texts(prompts)

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """`Catalogue.batch` with the prompts of the batch's different concepts, the empty one
        first: each is encoded once, and padded among its like."""
        slots = self.slots[indices]
        concepts = torch.cat([torch.tensor([-1]), slots[slots >= 0].unique()])
        prompts = {f"{PROMPT}{k}": v for k, v in self._prompts.batch(concepts + 1).items()}
        return {**self._catalogue.batch(indices), **prompts, "concepts": concepts, "slots": slots}
