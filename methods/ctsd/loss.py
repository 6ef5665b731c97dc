"""Losses against repetition: contrastive tokens, with and without similarity decay, unlikelihood.

Every term is a function of `scores`, z_t[y_j]: the logit that step t gives to the label of step j.
That is a [batch, length, length] tensor, the size of attention weights; nothing here has the
vocabulary's size.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Decay = Literal["exponential", "reciprocal"]


def scores_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """z_t[y_j] where the logits are at hand.

    Args:
        logits: [batch, length, vocabulary].
        labels: token ids, [batch, length]; any valid id where there is none.

    Returns:
        [batch, length, length]: step t, label j.
    """
    return logits.gather(2, labels[:, None, :].expand(-1, labels.shape[1], -1))


def scores_of_hidden(hidden: Tensor, head: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """z_t[y_j] without any logits: hidden states times the head's rows of the labels.

    Args:
        hidden: last hidden states, [batch, length, width].
        head: the output head, [vocabulary, width].
        bias: the head's, [vocabulary].
        labels: token ids, [batch, length]; any valid id where there is none.

    Returns:
        [batch, length, length]: step t, label j.
    """
    rows = functional.embedding(labels, head).to(hidden.dtype)
    scores = hidden @ rows.transpose(1, 2)
    return scores if bias is None else scores + bias[labels][:, None, :]


def preceding(labels: Tensor, mask: Tensor, window: int | None) -> Tensor:
    """Which labels j stand against step t: the `window` before it that differ from y_t.

    Args:
        labels: token ids, [batch, length].
        mask: true where there is a label, [batch, length].
        window: M, how far back; None: to the start.

    Returns:
        Booleans, [batch, length, length].
    """
    length = labels.shape[1]
    near = torch.ones(length, length, dtype=torch.bool, device=labels.device).tril(-1)
    if window is not None:
        near = near.triu(-window)
    differs = labels[:, :, None] != labels[:, None, :]
    return near & differs & mask[:, :, None] & mask[:, None, :]


def first_occurrences(labels: Tensor) -> Tensor:
    """True at each label that does not stand earlier in its row, [batch, length]."""
    same = labels[:, :, None] == labels[:, None, :]
    return ~same.tril(-1).any(-1)


def recurring(labels: Tensor, mask: Tensor, window: int) -> Tensor:
    """True at each label that stands among the `window` before it, [batch, length]."""
    same = labels[:, :, None] == labels[:, None, :]
    near = torch.ones_like(same[0]).tril(-1).triu(-window)
    return (same & near & mask[:, None, :]).any(-1) & mask


def contrastive_token(
    scores: Tensor, negatives: Tensor, log_weight: Tensor | None = None
) -> Tensor:
    """log(1 + sum_j w_tj exp(z_t[y_j] - z_t[y_t])) of every step, in fp32 at least.

    With no weights (w = 1) the contrastive token loss of Jiang et al. 2022 (arXiv 2205.02517,
    equation 3), a label counted as often as it stands in the window.

    Args:
        scores: z_t[y_j], [batch, length, length].
        negatives: the labels in the sum, [batch, length, length], as `preceding` gives them.
        log_weight: log w, [batch or 1, length, length]; -inf leaves a label out.

    Returns:
        [batch, length]; 0 where nothing stands against the label.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    margin = scores - scores.diagonal(dim1=1, dim2=2)[:, :, None]
    if log_weight is not None:
        margin = margin + log_weight
    margin = margin.masked_fill(~negatives, -torch.inf)
    margin.diagonal(dim1=1, dim2=2).zero_()  # the 1 in the sum, so that it is never empty
    return margin.logsumexp(-1)


def cosine_similarity(hidden: Tensor) -> Tensor:
    """max(0, cos(h_t, h_j)), without gradient: else bending h would lower the loss.

    Args:
        hidden: last decoder hidden states, [batch, length, width].

    Returns:
        In [0, 1], fp32 at least, [batch, length, length].
    """
    wide = hidden.detach().to(torch.promote_types(hidden.dtype, torch.float32))
    unit = functional.normalize(wide, dim=-1)
    return (unit @ unit.transpose(1, 2)).clamp(0, 1)


def attended(attention: Tensor) -> Tensor:
    """How much step t attends to label j, without gradient (our reading, an ablation).

    Label j enters the decoder one step later, as input j + 1.

    Args:
        attention: a decoder layer's self-attention, [batch, heads, length, length].

    Returns:
        Mean over heads, in [0, 1]; zero for the last label, [batch, length, length].
    """
    mean = attention.detach().float().mean(1)
    return functional.pad(mean[:, :, 1:], (0, 1))


def distance_decay(length: int, gamma: float, kind: Decay) -> Tensor:
    """Decay of a label with its distance d = t - j: gamma^(d - 1), or 1 / d.

    Returns:
        In [0, 1], [length, length]; 1 where d < 1, which no window holds.
    """
    step = torch.arange(length)
    distance = (step[:, None] - step[None, :]).clamp(min=1)
    return gamma ** (distance - 1.0) if kind == "exponential" else 1.0 / distance


def unlikelihood(scores: Tensor, log_probs: Tensor, negatives: Tensor) -> Tensor:
    """-sum over c of log(1 - p_t(c)) of every step (Welleck et al. 2019, arXiv 1908.04319, eq. 4).

    Args:
        scores: z_t[y_j], [batch, length, length].
        log_probs: log p_t(y_t), [batch, length].
        negatives: the candidates c, each token once, [batch, length, length].

    Returns:
        fp32 at least, [batch, length]. 1 - p is held at 1e-5 or more, as in the authors' code.
    """
    log_probs = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    log_normalizer = scores.diagonal(dim1=1, dim2=2) - log_probs
    log_p = (scores - log_normalizer[:, :, None]).masked_fill(~negatives, -torch.inf)
    return -torch.log((1 - log_p.exp()).clamp(min=1e-5)).sum(-1)
