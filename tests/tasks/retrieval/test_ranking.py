"""Ranks against a slow reading of their definition, and against torchmetrics."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_reciprocal_rank

from tasks.retrieval.ranking import BLOCK, pairs_of, ranks, ranks_both_ways


def slow_rank(scores: list[float], positive: list[bool]) -> int:
    """1 + the negatives that nothing puts behind the best positive."""
    best = max(score for score, yes in zip(scores, positive, strict=True) if yes)
    return 1 + sum(
        score >= best - 1e-6 for score, yes in zip(scores, positive, strict=True) if not yes
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores with many ties, of either sign, and one positive or more in each row."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    values = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0]) | st.floats(-1, 1, width=32)
    scores = draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
    marks = draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    positive = torch.tensor(marks).view(rows, columns)
    positive[torch.arange(rows), torch.arange(rows) % columns] = True
    return torch.tensor(scores, dtype=torch.float64).view(rows, columns), positive


@given(questions())
@settings(max_examples=200, deadline=None)
def test_ranks_are_those_of_the_definition(asked: tuple[Tensor, Tensor]) -> None:
    scores, positive = asked
    expected = [slow_rank(*pair) for pair in zip(scores.tolist(), positive.tolist(), strict=True)]
    assert ranks(scores, positive).tolist() == expected


@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_ranks_are_those_of_torchmetrics_where_it_keeps_its_targets(shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 30, generator=generator, dtype=torch.float64) + 0.1 + shift
    positive = torch.eye(40, 30, dtype=torch.bool)
    positive[30:, 3] = True
    found = ranks(scores, positive)
    pairs = list(zip(scores, positive, strict=True))
    for k in (1, 5, 10):
        theirs = torch.stack([retrieval_hit_rate(*pair, top_k=k) for pair in pairs])
        assert torch.equal((found <= k).float(), theirs)
    reciprocal = torch.stack([retrieval_reciprocal_rank(*pair) for pair in pairs])
    if shift == 0:
        torch.testing.assert_close(1 / found.float(), reciprocal)
    else:  # it drops targets that score 0 or less, as cosines do
        assert not reciprocal.any()


def test_a_model_that_cannot_tell_finds_nothing() -> None:
    same = torch.ones(20, 20)
    assert ranks(same, torch.eye(20, dtype=torch.bool)).tolist() == [20] * 20


def test_blocks_give_what_the_whole_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    monkeypatch.setattr("tasks.retrieval.ranking.BLOCK", 7)
    images = normalize(torch.randn(50, 8, generator=generator), dim=1)
    texts = normalize(torch.randn(23, 8, generator=generator), dim=1)
    images[11] = images[4]  # the same picture of two products
    texts[3] = texts[9]
    shown = [{str(i % 23), "x"} if i < 2 else {str(i % 23)} for i in range(50)]
    named = [{str(i)} | ({"x"} if i == 5 else set()) for i in range(23)]
    pairs = pairs_of(shown, named)
    positive = torch.zeros(50, 23, dtype=torch.bool)
    positive[pairs.images, pairs.texts] = True
    assert positive.sum() == 52
    scores = images @ texts.T
    by_image, by_text = ranks_both_ways(images, texts, pairs)
    assert by_image.tolist() == ranks(scores, positive).tolist()
    assert by_text.tolist() == ranks(scores.T, positive.T).tolist()


def test_a_block_is_all_that_is_in_memory() -> None:
    count, width = 3 * BLOCK + 5, 4
    vectors = normalize(torch.randn(count, width), dim=1)
    names = [{str(i)} for i in range(count)]
    by_image, by_text = ranks_both_ways(vectors, vectors, pairs_of(names, names))
    assert by_image.max() == by_text.max() == 1
