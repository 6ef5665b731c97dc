"""Our DPO loss against TRL's own trainer code on the same log-probabilities."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from harness.losses import dpo_margin, preference_loss
from methods.aspo.loss import aspo_margin

trl = pytest.importorskip("trl.trainer.dpo_trainer")


def trl_loss(log_probs, mask, reference_chosen, reference_rejected, beta):
    """TRL's `DPOTrainer._compute_loss`, its model replaced by one that says these numbers."""
    ids = torch.zeros_like(mask, dtype=torch.long)
    outputs = SimpleNamespace(
        log_probs=log_probs[:, 1:],
        entropy=torch.zeros_like(log_probs[:, 1:]),
        mean_logits=torch.zeros_like(log_probs[:, 1:]),
        is_top1=torch.zeros_like(mask[:, 1:], dtype=torch.bool),
    )
    keep = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=keep,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": mask.long(),
        "ref_chosen_logps": reference_chosen,
        "ref_rejected_logps": reference_rejected,
    }
    return trl.DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_dpo_loss_and_gradient_equal_trls(seed, beta):
    generator = torch.Generator().manual_seed(seed)
    pairs, length = 5, 12
    mask = torch.zeros(2 * pairs, length, dtype=torch.bool)
    for row in range(2 * pairs):
        start, end = 3, int(torch.randint(5, length + 1, (), generator=generator))
        mask[row, start:end] = True
    log_probs = -3 * torch.rand(2 * pairs, length, generator=generator) * mask
    reference = -3 * torch.rand(2 * pairs, length, generator=generator) * mask
    log_probs.requires_grad_()
    reference_chosen, reference_rejected = reference.chunk(2)

    theirs = trl_loss(log_probs, mask, reference_chosen.sum(1), reference_rejected.sum(1), beta)
    chosen, rejected = log_probs.chunk(2)
    logratio, rejected_logratio = chosen - reference_chosen, (rejected - reference_rejected).sum(1)
    ours = preference_loss(dpo_margin(logratio.sum(1), rejected_logratio, beta)).mean()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    (our_grad,) = torch.autograd.grad(ours, log_probs, retain_graph=True)
    (their_grad,) = torch.autograd.grad(theirs, log_probs, retain_graph=True)
    torch.testing.assert_close(our_grad[mask], their_grad[mask], rtol=0, atol=1e-6)

    unweighted = aspo_margin(
        logratio,
        rejected_logratio,
        torch.where(mask[:pairs], 0, -1),
        torch.zeros(pairs, 1),
        torch.ones(pairs, 1, dtype=torch.bool),
        beta,
    )
    torch.testing.assert_close(preference_loss(unweighted).mean(), theirs, rtol=0, atol=1e-6)
