"""Our contrastive token loss against the `ct-loss` package of its authors."""

import pytest
import torch
from torch import Tensor

from methods.ctsd.loss import contrastive_token, preceding, scores_of_hidden, scores_of_logits

ct_loss = pytest.importorskip("ct.functional.ct_loss").contrastive_token_loss
PAD = 0


def package(logits: Tensor, labels: Tensor, window: int) -> Tensor:
    """Over whole rows: `ct_length` is a share of the length up to 1, and a count above."""
    length = labels.shape[1]
    return ct_loss(
        logits,
        labels,
        ignore_index=PAD,
        pad_id=PAD,
        ct_length=length if length > 1 else 1.0,
        preced_m_negatives=window if window > 1 else 1 / length,
    )


def ours(logits: Tensor, labels: Tensor, window: int) -> Tensor:
    mask = labels != PAD
    scores = scores_of_logits(logits, labels)
    return contrastive_token(scores, preceding(labels, mask, window)).sum() / mask.sum()


def case(seed: int, rows: int, length: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Logits and labels with padding; a small vocabulary repeats."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, vocabulary, (rows, length), generator=generator)
    ends = torch.randint(1, length + 1, (rows,), generator=generator)
    labels = labels.masked_fill(torch.arange(length) >= ends[:, None], PAD)
    return 3 * torch.randn(rows, length, vocabulary, generator=generator), labels


def value_and_gradient(function, logits: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    value = function(logits, *arguments)
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("window", [1, 2, 4, 16])
@pytest.mark.parametrize("seed", range(12))
def test_values_and_gradients_equal_the_packages(seed, window):
    length = (2, 5, 9, 24)[seed % 4]
    logits, labels = case(seed, 4, length, (4, 12, 60)[seed % 3])
    found, expected = (
        value_and_gradient(function, logits, labels, window) for function in (ours, package)
    )
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-6)
    assert length == 2 or found[0] > 0


def test_the_projection_of_hidden_states_has_the_packages_value_on_their_logits():
    generator = torch.Generator().manual_seed(3)
    hidden, head = (torch.randn(*shape, generator=generator) for shape in ((4, 9, 8), (30, 8)))
    bias = torch.randn(30, generator=generator)
    _, labels = case(3, 4, 9, 30)
    mask = labels != PAD
    scores = scores_of_hidden(hidden, head, bias, labels)
    value = contrastive_token(scores, preceding(labels, mask, 4)).sum() / mask.sum()
    expected = package(hidden @ head.T + bias, labels, 4)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


def test_large_half_precision_logits_overflow_in_the_package_and_not_here():
    logits, labels = case(5, 4, 12, 20)
    logits = (400 * logits).half()
    value, gradient = value_and_gradient(package, logits, labels, 4)
    assert not value.isfinite()
    assert gradient.isnan().any()
    value, gradient = value_and_gradient(ours, logits, labels, 4)
    exact = value_and_gradient(ours, logits.double(), labels, 4)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact[0], rtol=1e-5, atol=0)
    assert gradient.isfinite().all() and gradient.any()
    torch.testing.assert_close(gradient.double(), exact[1], rtol=1e-3, atol=1e-4)


def test_a_window_of_nothing_fails_in_the_package_and_is_zero_here():
    """The smallest share that the package takes can round to no token at all."""
    logits, labels = case(6, 3, 4, 9)
    with pytest.raises(AssertionError):
        ct_loss(logits, labels, PAD, PAD, 4, 0)
    with pytest.raises(TypeError):
        ct_loss(logits, labels, PAD, PAD, 4, 0.1)
    value, gradient = value_and_gradient(ours, logits, labels, 0)
    assert value == 0 and not gradient.any()


def test_rows_without_labels_are_no_number_in_the_package_and_zero_here():
    logits, labels = case(7, 2, 4, 9)
    labels = torch.zeros_like(labels)
    assert package(logits, labels, 2).isnan()
    negatives = preceding(labels, labels != PAD, 2)
    value, gradient = value_and_gradient(
        lambda x: contrastive_token(scores_of_logits(x, labels), negatives).sum(), logits
    )
    assert value == 0 and not gradient.any()


def test_a_row_of_one_token_has_nothing_against_it():
    logits, labels = case(8, 3, 1, 9)
    value, gradient = value_and_gradient(ours, logits, labels, 4)
    assert value == 0 and not gradient.any()
    assert package(logits, labels, 4) == 0
