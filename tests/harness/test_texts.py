"""Tokenized texts end to end: batches of them, and the memory that they take."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from harness.models.texts import Texts

PAD = 9


def texts(rows: list[list[int]], side: str = "right", width: int | None = None) -> Texts:
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.int32)
    return Texts(flat, torch.tensor([len(row) for row in rows]), PAD, side, width)


ROWS = st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=6), min_size=1, max_size=8)


@given(ROWS, st.sampled_from(["left", "right"]), st.data())
def test_a_batch_is_what_torch_pads(rows: list[list[int]], side: str, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    found = texts(rows, side).batch(chosen)
    wanted = [torch.tensor(rows[i]) for i in chosen]
    ids = pad_sequence(wanted, True, PAD, padding_side=side)
    mask = pad_sequence([torch.ones_like(row) for row in wanted], True, 0, padding_side=side)
    assert torch.equal(found["input_ids"], ids)
    assert torch.equal(found["attention_mask"], mask)


def test_a_width_holds_for_every_batch() -> None:
    found = texts([[1, 2], [3]], width=4).batch([1])
    assert found["input_ids"].tolist() == [[3, PAD, PAD, PAD]]
    assert found["attention_mask"].tolist() == [[1, 0, 0, 0]]
    found = texts([[1, 2], [3]], "left", 3).batch(torch.tensor([0, 1]))
    assert found["input_ids"].tolist() == [[PAD, 1, 2], [PAD, PAD, 3]]


def test_a_model_without_a_mask_reads_its_padding() -> None:
    found = Texts(
        torch.tensor([1, 2], dtype=torch.int32), torch.tensor([2]), PAD, "right", 4, False
    )
    assert found.batch([0])["attention_mask"].tolist() == [[1, 1, 1, 1]]


def test_a_text_without_tokens_is_padding_alone() -> None:
    found = texts([[], [5]]).batch([0, 1])
    assert found["attention_mask"].tolist() == [[0], [1]]


def test_one_long_text_widens_no_batch_of_others() -> None:
    kept = texts([[1, 2, 3]] * 1000 + [[4] * 200_000])
    assert kept.flat.nbytes < 1e6
    assert kept.batch(range(1000))["input_ids"].shape == (1000, 3)
