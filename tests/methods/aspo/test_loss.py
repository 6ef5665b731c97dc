import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.losses import dpo_margin
from methods.aspo.loss import (
    aspo_margin,
    min_max,
    reward_ratio,
    sentence_perplexity,
    sentence_sums,
    sentence_weights,
)

BETA = 0.1


def random_batch(
    seed: int, batch: int = 4, most_sentences: int = 5, padding: int = 6
) -> dict[str, Tensor]:
    """Chosen answers of several lengths behind a prompt, with references near the policy."""
    generator = torch.Generator().manual_seed(seed)
    ids = []
    for _ in range(batch):
        count = int(torch.randint(1, most_sentences + 1, (), generator=generator))
        lengths = torch.randint(1, 5, (count,), generator=generator)
        ids.append(torch.arange(count).repeat_interleave(lengths))
    longest = max(len(row) for row in ids) + padding
    sentence_id = torch.full((batch, longest), -1)
    for row, of_token in enumerate(ids):
        sentence_id[row, 3 : 3 + len(of_token)] = of_token
    sentences = int(sentence_id.max()) + 1
    inside = sentence_id >= 0
    return {
        "sentence_id": sentence_id,
        "present": torch.stack([(sentence_id == k).any(1) for k in range(sentences)], 1),
        "log_probs": -torch.rand(sentence_id.shape, generator=generator) * 4 * inside,
        "reference": -torch.rand(sentence_id.shape, generator=generator) * 4 * inside,
        "rejected": torch.randn(batch, generator=generator),
        "similarity": torch.rand(batch, sentences, generator=generator),
    }


def margin_by_loops(data: dict[str, Tensor], row: int, alpha: float, normalizer: str) -> float:
    """The paper's equations for one pair, written out in Python numbers."""
    ids = data["sentence_id"][row].tolist()
    count = max(ids) + 1
    tokens = [[t for t, k in enumerate(ids) if k == i] for i in range(count)]
    log_probs, reference = data["log_probs"][row].tolist(), data["reference"][row].tolist()
    perplexity = [math.exp(-sum(log_probs[t] for t in ts) / len(ts)) for ts in tokens]

    def scaled(values: list[float]) -> list[float]:
        low, high = min(values), max(values)
        return [0.0 if high == low else (value - low) / (high - low) for value in values]

    similarity = scaled(data["similarity"][row].tolist()[:count])
    fluency = scaled([-value for value in perplexity])
    weights = [alpha * s + (1 - alpha) * p for s, p in zip(similarity, fluency, strict=True)]
    ratios = [sum(log_probs[t] - reference[t] for t in ts) for ts in tokens]
    weighted = sum(BETA * (1 + w) * r for w, r in zip(weights, ratios, strict=True))
    factor = count / sum(1 + w for w in weights)
    if normalizer == "rewards":
        plain = BETA * sum(ratios)
        if abs(weighted) > 1e-3 and plain * weighted > 0:
            factor = plain / weighted
    return factor * weighted - BETA * data["rejected"][row].item()


def vectorised(data: dict[str, Tensor], alpha: float, normalizer: str = "weights") -> Tensor:
    sentences = data["present"].shape[1]
    perplexity = sentence_perplexity(data["log_probs"], data["sentence_id"], sentences)
    weights = sentence_weights(data["similarity"], perplexity, data["present"], alpha)
    return aspo_margin(
        data["log_probs"] - data["reference"],
        data["rejected"],
        data["sentence_id"],
        weights,
        data["present"],
        BETA,
        normalizer,
    )


@pytest.mark.parametrize("normalizer", ["weights", "rewards"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_margin_equals_the_equations_written_as_loops(seed, alpha, normalizer):
    data = random_batch(seed)
    expected = [margin_by_loops(data, row, alpha, normalizer) for row in range(4)]
    torch.testing.assert_close(
        vectorised(data, alpha, normalizer), torch.tensor(expected), rtol=1e-5, atol=1e-6
    )


def test_a_margin_by_hand():
    # Two sentences of one token; similarities .2 and .6, so w = (0, 1); log-ratios 1 and 3.
    margin = aspo_margin(
        torch.tensor([[0.0, 1.0, 3.0]]),
        torch.tensor([2.0]),
        torch.tensor([[-1, 0, 1]]),
        sentence_weights(
            torch.tensor([[0.2, 0.6]]), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), 1.0
        ),
        torch.ones(1, 2, dtype=torch.bool),
        beta=0.5,
    )
    # 2 / 3 * 0.5 * (1 * 1 + 2 * 3) - 0.5 * 2
    assert margin.item() == pytest.approx(2 / 3 * 3.5 - 1)


@pytest.mark.parametrize("normalizer", ["weights", "rewards"])
def test_one_sentence_answers_equal_dpo_to_the_bit(normalizer):
    data = random_batch(0, most_sentences=1)
    data["log_probs"].requires_grad_()
    chosen = (data["log_probs"] - data["reference"]).sum(-1)
    dpo = dpo_margin(chosen, data["rejected"], BETA)
    aspo = vectorised(data, 0.5, normalizer)
    # With `rewards` the scale R_c / R_c* is one too, since R_c* is R_c.
    assert torch.equal(aspo, dpo)
    (dpo_grad,) = torch.autograd.grad(dpo.sum(), data["log_probs"])
    (aspo_grad,) = torch.autograd.grad(aspo.sum(), data["log_probs"])
    assert torch.equal(aspo_grad, dpo_grad)


def test_flat_scores_equal_dpo_to_the_bit():
    data = random_batch(1)
    data["similarity"] = torch.full_like(data["similarity"], 0.25)
    dpo = dpo_margin((data["log_probs"] - data["reference"]).sum(-1), data["rejected"], BETA)
    assert torch.equal(vectorised(data, 1.0), dpo)


def test_zero_weights_equal_dpo_to_the_bit():
    data = random_batch(2)
    logratio = data["log_probs"] - data["reference"]
    weights = torch.zeros_like(data["similarity"])
    margin = aspo_margin(
        logratio, data["rejected"], data["sentence_id"], weights, data["present"], BETA
    )
    assert torch.equal(margin, dpo_margin(logratio.sum(-1), data["rejected"], BETA))


def test_equal_weights_leave_the_margin_of_dpo():
    data = random_batch(3)
    logratio = data["log_probs"] - data["reference"]
    weights = 0.7 * data["present"]
    margin = aspo_margin(
        logratio, data["rejected"], data["sentence_id"], weights, data["present"], BETA
    )
    torch.testing.assert_close(margin, dpo_margin(logratio.sum(-1), data["rejected"], BETA))


def test_weights_carry_no_gradient():
    data = random_batch(4)
    log_probs = data["log_probs"].requires_grad_()
    similarity = data["similarity"].requires_grad_()
    sentences = data["present"].shape[1]
    perplexity = sentence_perplexity(log_probs, data["sentence_id"], sentences)
    assert perplexity.requires_grad
    weights = sentence_weights(similarity, perplexity, data["present"], 0.5)
    assert not weights.requires_grad
    margin = vectorised(data, 0.5)
    (grad,) = torch.autograd.grad(margin.sum(), log_probs)
    scale = data["present"].sum(1) / (data["present"] + weights).sum(1)
    by_token = BETA * scale[:, None] * (1 + weights.gather(1, data["sentence_id"].clamp(min=0)))
    inside = data["sentence_id"] >= 0
    torch.testing.assert_close(grad[inside], by_token[inside])


def test_reward_normalizer_has_the_value_of_dpo_and_not_its_gradient():
    data = random_batch(5)
    log_probs = data["log_probs"].requires_grad_()
    logratio = log_probs - data["reference"]
    chosen = logratio.sum(-1)
    dpo = dpo_margin(chosen, data["rejected"], BETA)
    weights = data["similarity"] * data["present"]
    aspo = aspo_margin(
        logratio,
        data["rejected"],
        data["sentence_id"],
        weights,
        data["present"],
        BETA,
        "rewards",
        epsilon=0,
    )
    (dpo_grad,) = torch.autograd.grad(dpo.sum(), log_probs, retain_graph=True)
    (aspo_grad,) = torch.autograd.grad(aspo.sum(), log_probs)
    weighted = ((1 + weights.gather(1, data["sentence_id"].clamp(min=0))) * logratio).sum(-1)
    usable = chosen * weighted > 0
    assert usable.any()
    torch.testing.assert_close(aspo[usable], dpo[usable])
    assert not torch.allclose(aspo_grad, dpo_grad, rtol=1e-3)


def test_undetached_reward_normalizer_cancels_to_dpo():
    data = random_batch(6)
    log_probs = data["log_probs"].requires_grad_()
    logratio = log_probs - data["reference"]
    plain = logratio.sum(-1)
    token_weight = 1 + data["similarity"].gather(1, data["sentence_id"].clamp(min=0))
    weighted = (token_weight * logratio).sum(-1)
    # The ratio with its gradient, the same function of the same rewards.
    ratio = reward_ratio(BETA * plain, BETA * weighted, torch.ones(4), epsilon=0.0)
    usable = plain * weighted > 0
    assert usable.any()
    margin = BETA * ratio * weighted - BETA * data["rejected"]
    dpo = dpo_margin(plain, data["rejected"], BETA)
    torch.testing.assert_close(margin[usable], dpo[usable])
    (grad,) = torch.autograd.grad(margin[usable].sum(), log_probs, retain_graph=True)
    (dpo_grad,) = torch.autograd.grad(dpo[usable].sum(), log_probs)
    torch.testing.assert_close(grad, dpo_grad, rtol=1e-4, atol=1e-6)


def test_reward_ratio_is_guarded_where_it_says_nothing():
    ratio = reward_ratio(
        torch.tensor([0.0, 1.0, -1.0, 1.0]),
        torch.tensor([0.0, 1e-5, 2.0, 2.0]),
        otherwise=torch.tensor([0.6, 0.7, 0.8, 0.9]),
        epsilon=1e-3,
    )
    torch.testing.assert_close(ratio, torch.tensor([0.6, 0.7, 0.8, 0.5]))


def test_min_max_reaches_both_ends_and_ignores_padding():
    scaled = min_max(
        torch.tensor([[3.0, 1.0, 2.0, 99.0], [5.0, 5.0, 5.0, -1.0], [7.0, 0.0, 0.0, 0.0]]),
        torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool),
    )
    assert scaled.tolist() == [[1, 0, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_values_equal_but_for_rounding_are_flat():
    values = torch.tensor([[0.3, 0.3 * (1 + 1.2e-7)]])
    assert min_max(values, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[0, 0]]


def test_an_impossible_token_leaves_weights_finite():
    log_probs = torch.tensor([[-500.0, -1.0, -2.0]])
    perplexity = sentence_perplexity(log_probs, torch.tensor([[0, 1, 2]]), 3)
    weights = sentence_weights(
        torch.zeros(1, 3), perplexity, torch.ones(1, 3, dtype=torch.bool), 0.0
    )
    assert weights[0, 0] == 0
    assert weights[0, 1:].gt(0.99).all()


def test_perplexity_of_a_uniform_guess_is_the_number_of_words():
    log_probs = torch.full((1, 5), -math.log(8))
    perplexity = sentence_perplexity(log_probs, torch.tensor([[-1, 0, 0, 1, -1]]), 2)
    torch.testing.assert_close(perplexity, torch.tensor([[8.0, 8.0]]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_weights_lie_in_the_unit_interval_and_sentences_add_up(seed, alpha):
    data = random_batch(seed)
    sentences = data["present"].shape[1]
    perplexity = sentence_perplexity(data["log_probs"], data["sentence_id"], sentences)
    weights = sentence_weights(data["similarity"], perplexity, data["present"], alpha)
    assert weights.ge(0).all()
    assert weights.le(1 + 1e-6).all()
    assert weights[~data["present"]].eq(0).all()
    sums = sentence_sums(data["log_probs"], data["sentence_id"], sentences)
    torch.testing.assert_close(sums.sum(-1), data["log_probs"].sum(-1))
