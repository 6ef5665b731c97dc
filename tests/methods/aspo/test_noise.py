import math

import pytest
import torch

from methods.aspo.noise import diffusion_noise, signal_share


def share_by_hand(step: int) -> float:
    kept = 1.0
    for t in range(step + 1):
        x = -6 + 12 * t / 999
        kept *= 1 - ((0.5e-2 - 1e-5) / (1 + math.exp(-x)) + 1e-5)
    return kept


@pytest.mark.parametrize("step", [0, 120, 500, 999])
def test_signal_share_follows_the_schedule_written_as_a_loop(step):
    assert signal_share(step) == pytest.approx(share_by_hand(step), rel=1e-9)


def test_noise_mixes_picture_and_standard_noise_by_their_shares():
    pixels = torch.full((1, 3, 200, 200), 2.0)
    noised = diffusion_noise(500, 0)(pixels)
    kept = share_by_hand(500)
    assert noised.mean().item() == pytest.approx(2 * kept**0.5, abs=0.01)
    assert noised.var().item() == pytest.approx(1 - kept, rel=0.02)


def test_noise_depends_on_picture_and_seed_alone():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 1, 3, 8, 8, generator=generator)
    noise = diffusion_noise(300, 7)
    before = noise(first)
    assert not torch.equal(noise(second) - noise(first), second - first)
    assert torch.equal(noise(first), before)
    assert not torch.equal(diffusion_noise(300, 8)(first), before)
    assert noise(first.bfloat16()).dtype == torch.bfloat16
