"""Tokenized texts of a whole dataset, end to end: a long one widens the table of no other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Texts:
    """Token ids of many texts, which batches are cut from.

    Attributes:
        flat: token ids of all texts, one text after the other, int32 [tokens].
        lengths: tokens of each text, int64 [texts].
        pad: token that fills up a batch.
        side: where it stands, `right` or `left` of a text.
        width: tokens of every row of a batch; None: as many as its longest text has.
        masked: whether the model leaves out the padding; else it reads that as well.
    """

    flat: Tensor
    lengths: Tensor
    pad: int
    side: str = "right"
    width: int | None = None
    masked: bool = True

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def _starts(self) -> Tensor:
        return self.lengths.cumsum(0) - self.lengths

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` of some texts, padded, [texts, width] each."""
        lengths, starts = self.lengths[indices], self._starts[indices]
        width = self.width or int(lengths.max())
        place = torch.arange(width).expand(len(lengths), width)
        if self.side == "left":
            place = place - (width - lengths)[:, None]
        mask = (place >= 0) & (place < lengths[:, None])
        ids = torch.full(mask.shape, self.pad)
        ids[mask] = self.flat[(starts[:, None] + place)[mask]].long()
        read = mask if self.masked else torch.ones_like(mask)
        return {"input_ids": ids, "attention_mask": read.long()}
