"""What several losses share, pure: log-probabilities of answers and the preference margin."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from harness.errors import HarnessError

CHUNK = 256
"""Positions projected at once; [CHUNK, vocabulary] is the largest fp32 tensor of a loss."""
LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier")
"""What some architectures do to their logits after the head, by config field."""


def dpo_margin(chosen_logratio: Tensor, rejected_logratio: Tensor, beta: float) -> Tensor:
    """Difference of the implicit rewards of two answers (DPO, arXiv 2305.18290, equation 7).

    Args:
        chosen_logratio: log pi(y_c | x) - log ref(y_c | x), [batch].
        rejected_logratio: the same of the rejected answer, [batch].
        beta: strength of the pull to the reference, > 0.
    """
    return beta * (chosen_logratio - rejected_logratio)


def preference_loss(margin: Tensor) -> Tensor:
    """Negative log-likelihood of preferring the chosen answer (Bradley-Terry), as `margin`."""
    return -functional.logsigmoid(margin)


def token_log_probs(
    hidden: Tensor,
    head_weight: Tensor,
    labels: Tensor,
    *,
    head_bias: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Log-probability of each label under softmax(hidden @ head_weight.T + head_bias).

    The vocabulary is projected `chunk` positions at a time, forward and backward, so memory does
    not grow with positions x vocabulary. Softmax and sums over chunks are in fp32 (fp64 inputs
    stay fp64). A head that does not require grad costs no gradient and no second projection.

    Args:
        hidden: last hidden states, [..., width].
        head_weight: [vocabulary, width].
        labels: token ids, the shape of `hidden` without its last dimension.
        head_bias: [vocabulary].
        chunk: positions per projection.

    Returns:
        fp32, the shape of `labels`.
    """
    device = hidden.device.type
    dtype = (
        torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head_weight.dtype
    )
    bias = None if head_bias is None else head_bias.to(dtype)
    with torch.autocast(device, enabled=False):
        log_probs: Tensor = _ChunkedLogProbs.apply(  # type: ignore[no-untyped-call]
            hidden.reshape(-1, hidden.shape[-1]).to(dtype),
            head_weight.to(dtype),
            bias,
            labels.reshape(-1).to(hidden.device),
            chunk,
        )
    return log_probs.view(labels.shape)


def at_head(
    module: nn.Module,
    inputs: Mapping[str, Any],
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Tensor:
    """What `compute` makes of the last hidden states, in place of the logits.

    `module` may be wrapped by peft and by `DistributedDataParallel`: its own forward runs, so
    that adapters and gradient hooks work, with the head replaced.

    Args:
        module: a transformers model with a linear head on the last hidden state.
        inputs: what its forward takes.
        compute: (hidden states [batch, length, width], the head's weight [vocabulary, width], its
            bias [vocabulary] or None) -> any tensor.
    """
    model = unwrapped(module)
    head = _plain_head(model)
    added = getattr(model, "final_logits_bias", None)
    bias = head.bias
    if added is not None:
        bias = added.view(-1) if bias is None else bias + added.view(-1)
    with _replaced(head, "forward", lambda hidden: compute(hidden, head.weight, bias)):
        if added is None:
            found: Tensor = module(**inputs, use_cache=False).logits
            return found
        # Marian and mBART add it to what the head gives; here it is in the head's bias.
        with _replaced(model, "final_logits_bias", added.new_zeros(1)):
            found = module(**inputs, use_cache=False).logits
            return found


def answer_log_probs(
    module: nn.Module, inputs: Mapping[str, Any], answer_mask: Tensor, *, chunk: int = CHUNK
) -> Tensor:
    """Log-probability of every answer token; only the positions before one are projected.

    Args:
        module: a transformers model with a head on the last hidden state; see `at_head`.
        inputs: what its forward takes; `input_ids` [batch, length].
        answer_mask: true where `input_ids` holds a token of the answer, [batch, length]; false
            in the first column.
        chunk: positions per projection.

    Returns:
        fp32 [batch, length], aligned with `input_ids`; zero outside the answers.
    """
    selected = answer_mask[:, 1:]
    labels = inputs["input_ids"][:, 1:][selected]

    def project(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return token_log_probs(
            hidden[:, :-1][selected], weight, labels, head_bias=bias, chunk=chunk
        )

    log_probs = at_head(module, inputs, project)
    zeros = log_probs.new_zeros(answer_mask.shape)
    return zeros.masked_scatter(answer_mask, log_probs)


class _ChunkedLogProbs(torch.autograd.Function):
    """log p(label) and its derivative by the hidden state in one pass over the vocabulary.

    Each output depends on its own hidden state alone: the forward pass already forms
    d log p / d hidden = head[label] - softmax @ head, and the backward pass scales it. Only the
    head's gradient needs the logits again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, chunk: int
    ) -> Tensor:
        log_probs = hidden.new_empty(len(hidden), dtype=_accumulation_dtype(hidden))
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for rows in _chunks(len(hidden), chunk):
            log_p = _log_softmax(hidden[rows], weight, bias)
            log_probs[rows] = log_p.gather(1, labels[rows, None]).squeeze(1)
            if slope is not None:
                torch.mm(_residual(log_p, labels[rows]).to(weight.dtype), weight, out=slope[rows])
        head_trains = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        ctx.save_for_backward(slope, *([hidden, weight, bias, labels] if head_trains else []))
        ctx.chunk = chunk
        return log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        slope, *head = ctx.saved_tensors
        grad_hidden = None if slope is None else slope * grad[:, None].to(slope.dtype)
        if not head:
            return grad_hidden, None, None, None, None
        hidden, weight, bias, labels = head
        dtype = _accumulation_dtype(hidden)
        grad_weight = torch.zeros_like(weight, dtype=dtype) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias, dtype=dtype) if ctx.needs_input_grad[2] else None
        for rows in _chunks(len(hidden), ctx.chunk):
            log_p = _log_softmax(hidden[rows], weight, bias)
            grad_logits = _residual(log_p, labels[rows]).mul_(grad[rows, None])
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.to(hidden.dtype).T, hidden[rows])
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )


def _chunks(length: int, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, length, chunk))


def _accumulation_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _log_softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = functional.linear(hidden, weight, bias)
    return functional.log_softmax(logits, 1, dtype=_accumulation_dtype(hidden))


def _residual(log_p: Tensor, labels: Tensor) -> Tensor:
    """One-hot labels minus probabilities, in place: d log p(label) / d logits."""
    residual = log_p.exp_().neg_()
    return residual.scatter_add_(1, labels[:, None], residual.new_ones(len(labels), 1))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, summed in `total`'s precision."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def unwrapped(module: nn.Module) -> Any:
    """The transformers model inside of what training and peft wrapped around it."""
    while not hasattr(module, "get_output_embeddings") and isinstance(
        inner := getattr(module, "module", None), nn.Module
    ):
        module = inner
    base: Any = getattr(module, "get_base_model", lambda: module)
    return base()


def _plain_head(model: Any) -> nn.Linear:
    config = model.config.get_text_config()
    changed = [name for name in LOGIT_TRANSFORMS if getattr(config, name, None) not in (None, 1.0)]
    if changed:
        raise HarnessError(
            f"{config.model_type} changes its logits after the head ({', '.join(changed)}), which "
            "chunked log-probabilities do not know: train a model without it."
        )
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise HarnessError(
            f"the output head is a {type(head).__name__}, not a plain linear layer: leave the "
            "head out of `train.lora.targets`."
        )
    return head


@contextmanager
def _replaced(owner: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Let a module have another attribute for a while; hooks on it still run."""
    absent = object()
    before = owner.__dict__.get(name, absent)
    owner.__dict__[name] = value
    try:
        yield
    finally:
        if before is absent:
            del owner.__dict__[name]
        else:
            owner.__dict__[name] = before
