"""The ASPO margin (arXiv 2505.19100): a chosen answer's sentences weighted by their quality.

Sentences are columns: values of sentences are [batch, sentences], those of tokens
[batch, length], and `sentence_id` [batch, length] maps a token to its sentence, -1 elsewhere.
With all weights zero every function here gives DPO, to the bit.
"""

from typing import Literal

import torch
from torch import Tensor

from harness.losses import dpo_margin

FLAT = 1e-6
"""Relative spread up to which values count as equal: what rounding alone makes of equal ones."""
LONGEST_SURPRISE = 80.0
"""Nats per token above which a perplexity leaves the range of fp32."""

Normalizer = Literal["weights", "rewards"]


def min_max(values: Tensor, present: Tensor) -> Tensor:
    """Scale the present values of each row to [0, 1].

    Args:
        values: [batch, sentences].
        present: which of them are sentences and not padding, [batch, sentences].

    Returns:
        [batch, sentences]; zeros where a row is flat or holds one sentence, and at padding.
    """
    low = values.masked_fill(~present, torch.inf).amin(-1, keepdim=True)
    high = values.masked_fill(~present, -torch.inf).amax(-1, keepdim=True)
    spread = high - low
    flat = ~(spread > FLAT * torch.maximum(low.abs(), high.abs()))
    return ((values - low) / spread).masked_fill(flat | ~present, 0.0)


def sentence_sums(values: Tensor, sentence_id: Tensor, sentences: int) -> Tensor:
    """Sum of the token values of each sentence, [batch, sentences]."""
    rest = torch.where(sentence_id < 0, sentences, sentence_id)
    sums = values.new_zeros(len(values), sentences + 1).scatter_add(1, rest, values)
    return sums[:, :sentences]


def sentence_perplexity(log_probs: Tensor, sentence_id: Tensor, sentences: int) -> Tensor:
    """exp of the mean negative log-probability of each sentence's tokens.

    Args:
        log_probs: log pi(y_t | x, y_<t) of the chosen answer, [batch, length].
        sentence_id: [batch, length].
        sentences: number of columns of the result.

    Returns:
        [batch, sentences], >= 1; ones for sentences without tokens.
    """
    total = sentence_sums(log_probs, sentence_id, sentences)
    count = sentence_sums(torch.ones_like(log_probs), sentence_id, sentences)
    return torch.exp((-total / count.clamp(min=1)).clamp(max=LONGEST_SURPRISE))


def sentence_weights(
    similarity: Tensor, perplexity: Tensor, present: Tensor, alpha: float
) -> Tensor:
    """Weight of each sentence of a chosen answer; a constant, without gradient.

    w_i = alpha S'_i + (1 - alpha) P'_i, where ' is min-max over the answer's sentences.

    Args:
        similarity: cosine of sentence and picture, [batch, sentences].
        perplexity: of the sentence under the policy, [batch, sentences].
        present: [batch, sentences].
        alpha: share of the similarity, in [0, 1].

    Returns:
        [batch, sentences], in [0, 1].
    """
    fluent = min_max(-perplexity, present)
    return (alpha * min_max(similarity, present) + (1 - alpha) * fluent).detach()


def aspo_margin(
    chosen_logratio: Tensor,
    rejected_logratio: Tensor,
    sentence_id: Tensor,
    weights: Tensor,
    present: Tensor,
    beta: float,
    normalizer: Normalizer = "weights",
    epsilon: float = 1e-3,
) -> Tensor:
    """M = (R_c / R_c*) sum_i beta (1 + w_i) log[pi(s_i) / ref(s_i)] - beta log[pi(y_r) / ref(y_r)].

    Args:
        chosen_logratio: log pi - log ref of each token, zero outside the answer, [batch, length].
        rejected_logratio: of the whole rejected answer, [batch].
        sentence_id: [batch, length].
        weights: of the sentences, zero at padding, [batch, sentences].
        present: [batch, sentences].
        beta: strength of the pull to the reference.
        normalizer: what R_c / R_c* is, which keeps long answers from gaining by total weight:
            `weights` (R_c = K, R_c* = sum_i (1 + w_i)), or `rewards` (`reward_ratio`).
        epsilon: see `reward_ratio`.

    Returns:
        [batch].
    """
    weighted = ((1 + token_weights(weights, sentence_id)) * chosen_logratio).sum(-1)
    scale = weight_ratio(weights, present)
    if normalizer == "rewards":
        plain, full = chosen_logratio.sum(-1).detach(), weighted.detach()
        scale = reward_ratio(beta * plain, beta * full, scale, epsilon)
    return dpo_margin(scale * weighted, rejected_logratio, beta)


def token_weights(weights: Tensor, sentence_id: Tensor) -> Tensor:
    """The weight of each token's sentence, zero outside the answer, [batch, length]."""
    of_token = weights.gather(1, sentence_id.clamp(min=0))
    return of_token.masked_fill(sentence_id < 0, 0.0)


def weight_ratio(weights: Tensor, present: Tensor) -> Tensor:
    """K / sum_i (1 + w_i), [batch]: in [1/2, 1], and one where all weights are zero."""
    count = present.sum(-1).clamp(min=1).to(weights.dtype)
    return count / (count + weights.sum(-1))


def reward_ratio(plain: Tensor, weighted: Tensor, otherwise: Tensor, epsilon: float) -> Tensor:
    """Implicit reward of the chosen answer without weights by the one with weights, [batch].

    Both are constants here: with their gradient the margin is DPO's again. `otherwise` stands in
    where the ratio says nothing: a weighted reward within `epsilon` of zero, as before the first
    step, or rewards of opposite sign, which would turn the gradient round.
    """
    usable = (weighted.abs() > epsilon) & (plain * weighted > 0)
    return torch.where(usable, plain / weighted.masked_fill(~usable, 1.0), otherwise)
