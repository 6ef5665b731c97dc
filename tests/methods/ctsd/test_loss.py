import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods.ctsd.loss import (
    attended,
    contrastive_token,
    cosine_similarity,
    distance_decay,
    first_occurrences,
    preceding,
    scores_of_hidden,
    scores_of_logits,
    unlikelihood,
)


def random_case(
    seed: int, rows: int = 3, length: int = 9, vocabulary: int = 7
) -> dict[str, Tensor]:
    """Labels of few words, so that they repeat, rows of several lengths, and a projection."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, length, 5, generator=generator)
    head = torch.randn(vocabulary, 5, generator=generator)
    bias = torch.randn(vocabulary, generator=generator)
    ends = torch.randint(1, length + 1, (rows,), generator=generator)
    return {
        "labels": torch.randint(vocabulary, (rows, length), generator=generator),
        "mask": torch.arange(length) < ends[:, None],
        "hidden": hidden,
        "head": head,
        "bias": bias,
        "logits": hidden @ head.T + bias,
    }


def contrastive_by_loops(
    case: dict[str, Tensor], window: int, weight=lambda row, t, j: 1.0
) -> list[list[float]]:
    """log(1 + sum_j w_tj exp(z_t[y_j] - z_t[y_t])), written out in Python numbers."""
    found = []
    for row, (labels, mask) in enumerate(
        zip(case["labels"].tolist(), case["mask"].tolist(), strict=True)
    ):
        logits = case["logits"][row].tolist()
        losses = []
        for t, label in enumerate(labels):
            total = 0.0
            for j in range(max(0, t - window), t):
                if mask[t] and mask[j] and labels[j] != label:
                    total += weight(row, t, j) * math.exp(logits[t][labels[j]] - logits[t][label])
            losses.append(math.log1p(total))
        found.append(losses)
    return found


def vectorised(case: dict[str, Tensor], window: int, log_weight: Tensor | None = None) -> Tensor:
    negatives = preceding(case["labels"], case["mask"], window)
    return contrastive_token(
        scores_of_logits(case["logits"], case["labels"]), negatives, log_weight
    )


@pytest.mark.parametrize("window", [0, 1, 3, 100])
@pytest.mark.parametrize("seed", range(4))
def test_contrastive_tokens_equal_the_equation_written_as_loops(seed, window):
    case = random_case(seed)
    expected = torch.tensor(contrastive_by_loops(case, window))
    torch.testing.assert_close(vectorised(case, window), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", ["exponential", "reciprocal"])
@pytest.mark.parametrize("seed", range(4))
def test_similarity_decay_equals_its_equations_written_as_loops(seed, decay):
    case, gamma = random_case(seed), 0.7
    hidden = case["hidden"].tolist()

    def weight(row: int, t: int, j: int) -> float:
        one, other = hidden[row][t], hidden[row][j]
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        cosine = dot / math.hypot(*one) / math.hypot(*other)
        fall = gamma ** (t - j - 1) if decay == "exponential" else 1 / (t - j)
        return max(0.0, cosine) * fall

    weights = cosine_similarity(case["hidden"]) * distance_decay(9, gamma, decay)
    expected = torch.tensor(contrastive_by_loops(case, 4, weight))
    torch.testing.assert_close(vectorised(case, 4, weights.log()), expected, rtol=1e-5, atol=1e-6)


def test_a_loss_by_hand():
    # Labels a b a: step 2 has b against it, step 1 has a; step 0 of both rows has nothing.
    scores = torch.tensor([[[1.0, 9.0, 9.0], [0.5, 2.0, 0.5], [3.0, 2.0, 3.0]]])
    negatives = preceding(torch.tensor([[4, 5, 4]]), torch.ones(1, 3, dtype=torch.bool), 2)
    assert negatives.nonzero().tolist() == [[0, 1, 0], [0, 2, 1]]
    losses = contrastive_token(scores, negatives)
    expected = [0.0, math.log1p(math.exp(-1.5)), math.log1p(math.exp(-1.0))]
    assert losses.tolist()[0] == pytest.approx(expected, abs=1e-7)
    halved = contrastive_token(scores, negatives, torch.full((1, 3, 3), math.log(0.5)))
    expected = [0.0, math.log1p(0.5 * math.exp(-1.5)), math.log1p(0.5 * math.exp(-1.0))]
    assert halved.tolist()[0] == pytest.approx(expected, abs=1e-7)


def test_a_label_counts_as_often_as_it_stands_in_the_window():
    case = random_case(0, rows=1, length=4)
    case |= {"labels": torch.tensor([[1, 1, 1, 2]]), "mask": torch.ones(1, 4, dtype=torch.bool)}
    ratio = (case["logits"][0, 3, 1] - case["logits"][0, 3, 2]).exp()
    torch.testing.assert_close(vectorised(case, 3)[0, 3], torch.log1p(3 * ratio))
    torch.testing.assert_close(vectorised(case, 2)[0, 3], torch.log1p(2 * ratio))


def test_weights_of_one_are_no_weights():
    case = random_case(1)
    ones = torch.zeros(1, 9, 9)
    assert torch.equal(vectorised(case, 4, ones), vectorised(case, 4))


def test_a_decay_of_one_is_no_decay():
    assert torch.equal(distance_decay(7, 1.0, "exponential"), torch.ones(7, 7))


def test_decays_by_hand():
    exponential, reciprocal = (
        distance_decay(4, 0.5, kind) for kind in ("exponential", "reciprocal")
    )
    assert exponential[3].tolist() == [0.25, 0.5, 1.0, 1.0]
    assert reciprocal[3].tolist() == pytest.approx([1 / 3, 0.5, 1.0, 1.0])
    assert exponential[0].tolist() == reciprocal[0].tolist() == [1.0] * 4


def test_similarity_is_a_cosine_in_no_ones_gradient():
    hidden = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    similarity = cosine_similarity(hidden)
    assert not similarity.requires_grad
    half = math.sqrt(0.5)
    expected = [[1, half, 0, 0], [half, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(similarity[0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_similarity_of_half_precision_is_in_fp32(dtype):
    hidden = 300 * torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    similarity = cosine_similarity(hidden.to(dtype))
    assert similarity.dtype == torch.promote_types(dtype, torch.float32)
    assert ((similarity >= 0) & (similarity <= 1)).all()
    torch.testing.assert_close(
        similarity.diagonal(dim1=1, dim2=2).float(), torch.ones(2, 5), rtol=0, atol=1e-5
    )


def test_weights_do_not_move_the_hidden_states():
    """The gradient is that of constant weights: bending h to lower them gains nothing."""
    case = random_case(2)
    grads = []
    for source in ("live", "constant"):
        hidden = case["hidden"].clone().requires_grad_()
        weights = cosine_similarity(hidden if source == "live" else case["hidden"])
        scores = scores_of_hidden(hidden, case["head"], case["bias"], case["labels"])
        negatives = preceding(case["labels"], case["mask"], 4)
        contrastive_token(scores, negatives, weights.log()).sum().backward()
        grads.append(hidden.grad)
    assert torch.equal(*grads)
    assert grads[0].any()


def test_attention_to_a_label_is_attention_to_the_input_after_it():
    attention = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    attention.requires_grad_()
    weights = attended(attention)
    assert not weights.requires_grad
    assert weights.shape == (2, 4, 4)
    for t in range(4):
        for j in range(3):
            mean = sum(attention[1, head, t, j + 1].item() for head in range(3)) / 3
            assert weights[1, t, j].item() == pytest.approx(mean, abs=1e-6)
    assert not weights[:, :, 3].any()


@pytest.mark.parametrize("with_bias", [True, False])
def test_scores_of_hidden_states_are_those_of_the_whole_logits(with_bias):
    case = random_case(4)
    bias = case["bias"] if with_bias else None
    logits = nn.functional.linear(case["hidden"], case["head"], bias)
    scores = scores_of_hidden(case["hidden"], case["head"], bias, case["labels"])
    torch.testing.assert_close(scores, scores_of_logits(logits, case["labels"]))
    labels = case["labels"].tolist()
    for t, j in ((0, 0), (3, 1), (1, 8)):
        assert scores[2, t, j].item() == pytest.approx(logits[2, t, labels[2][j]].item(), abs=1e-5)


def test_gradients_of_scores_are_those_through_the_whole_logits():
    case = random_case(5)
    grads = []
    for whole in (True, False):
        leaves = [case[name].clone().requires_grad_() for name in ("hidden", "head", "bias")]
        if whole:
            logits = nn.functional.linear(*leaves)
            scores = scores_of_logits(logits, case["labels"])
        else:
            scores = scores_of_hidden(*leaves, case["labels"])
        contrastive_token(scores, preceding(case["labels"], case["mask"], 4)).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_agree_with_finite_differences():
    case = random_case(6, rows=2, length=5)
    negatives = preceding(case["labels"], case["mask"], 3)
    log_weight = distance_decay(5, 0.6, "exponential").double().log()[None]
    scores = torch.randn(2, 5, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda scores: contrastive_token(scores, negatives, log_weight), (scores,)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weight", ["none", "zero", "some zero"])
def test_values_and_gradients_are_finite_whatever_the_logits(dtype, weight):
    scores = torch.tensor([[[0.0, 6e4, -6e4], [6e4, -6e4, 0.0], [-6e4, 6e4, -6e4]]], dtype=dtype)
    scores.requires_grad_()
    negatives = preceding(torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool), 4)
    log_weight = {
        "none": None,
        "zero": torch.full((1, 3, 3), -torch.inf),
        "some zero": torch.tensor([[[0.0, 0, 0], [-torch.inf, 0, 0], [0.0, -torch.inf, 0]]]),
    }[weight]
    losses = contrastive_token(scores, negatives, log_weight)
    losses.sum().backward()
    assert losses.dtype == torch.float32
    assert losses.isfinite().all() and scores.grad.isfinite().all()
    if weight == "zero":
        assert not losses.any() and not scores.grad.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(1, 10))
def test_what_is_not_in_the_window_moves_nothing(seed, window, length):
    """Labels outside of a row, its own label, and all that stands further back or ahead."""
    case = random_case(seed, length=length)
    scores = torch.randn(3, length, length, generator=torch.Generator().manual_seed(seed))
    negatives = preceding(case["labels"], case["mask"], window)
    labels, mask = case["labels"].tolist(), case["mask"].tolist()
    for row in range(3):
        for t in range(length):
            allowed = [
                j
                for j in range(length)
                if 1 <= t - j <= window and labels[row][j] != labels[row][t]
            ]
            expected = [j for j in allowed if mask[row][t] and mask[row][j]]
            assert negatives[row, t].nonzero().flatten().tolist() == expected
    scores.requires_grad_()
    losses = contrastive_token(scores, negatives)
    assert (losses >= 0).all()
    assert ((losses > 0) == negatives.any(-1)).all()
    losses.sum().backward()
    own = torch.eye(length, dtype=torch.bool) & negatives.any(-1)[:, :, None]
    assert ((scores.grad != 0) <= (negatives | own)).all()
    torch.testing.assert_close(scores.grad.sum(-1), torch.zeros(3, length), rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4))
def test_a_first_occurrence_stands_nowhere_earlier_in_its_row(rows):
    expected = [[token not in row[:t] for t, token in enumerate(row)] for row in rows]
    assert first_occurrences(torch.tensor(rows)).tolist() == expected


def unlikelihood_by_sets(case: dict[str, Tensor]) -> list[list[float]]:
    """-sum of log(1 - p(c)) over the set of earlier labels, by single probabilities."""
    found = []
    probabilities = case["logits"].double().softmax(-1)
    for row, (labels, mask) in enumerate(
        zip(case["labels"].tolist(), case["mask"].tolist(), strict=True)
    ):
        losses = []
        for t, label in enumerate(labels):
            candidates = {c for j, c in enumerate(labels[:t]) if mask[j]} - {label}
            p = probabilities[row, t]
            losses.append(sum(-math.log(max(1 - p[c].item(), 1e-5)) for c in candidates) * mask[t])
        found.append(losses)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_unlikelihood_equals_sets_of_candidates_step_by_step(seed):
    case = random_case(seed)
    labels = case["labels"]
    log_probs = case["logits"].log_softmax(-1).gather(2, labels[..., None]).squeeze(-1)
    candidates = preceding(labels, case["mask"], None) & first_occurrences(labels)[:, None, :]
    found = unlikelihood(scores_of_logits(case["logits"], labels), log_probs, candidates)
    torch.testing.assert_close(
        found, torch.tensor(unlikelihood_by_sets(case)), rtol=1e-4, atol=1e-5
    )
    assert found.any()


def test_unlikelihood_of_a_sure_repetition_is_bounded():
    scores = torch.tensor([[[0.0, 0.0], [100.0, 0.0]]], requires_grad=True)
    negatives = preceding(torch.tensor([[1, 2]]), torch.ones(1, 2, dtype=torch.bool), None)
    found = unlikelihood(scores, torch.tensor([[0.0, -100.0]]), negatives)
    found.sum().backward()
    assert found[0, 1].item() == pytest.approx(-math.log(1e-5), rel=1e-3)
    assert scores.grad.isfinite().all()
