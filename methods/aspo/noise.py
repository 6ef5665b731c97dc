"""The diffusion noise that makes a model hallucinate (SeVa's pipeline, after VCD)."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1000


def signal_share(step: int) -> float:
    """alpha-bar after `step`: the share of the picture's variance that is left.

    beta_t = sigmoid(linspace(-6, 6, 1000)) (0.5e-2 - 1e-5) + 1e-5, alpha-bar = prod(1 - beta).
    """
    betas = torch.sigmoid(torch.linspace(-6, 6, STEPS, dtype=torch.float64))
    betas = betas * (0.5e-2 - 1e-5) + 1e-5
    return float(torch.cumprod(1 - betas, 0)[step])


def diffusion_noise(step: int, seed: int) -> Callable[[Tensor], Tensor]:
    """A map from a preprocessed picture to sqrt(alpha-bar) x + sqrt(1 - alpha-bar) noise.

    The noise depends on the picture and the seed alone, so that an answer does not depend on what
    else is in its batch.

    Args:
        step: 0 to 999; the paper's 500 leaves about 75 % of the variance.
        seed: of the noise.
    """
    kept = signal_share(step)

    def noised(pixels: Tensor) -> Tensor:
        values = pixels.to("cpu", torch.float32)
        content = hashlib.sha256(values.numpy().tobytes() + seed.to_bytes(8, "little")).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(content[:8], "little") >> 1)
        noise = torch.randn(values.shape, generator=generator)
        return (kept**0.5 * values + (1 - kept) ** 0.5 * noise).to(pixels)

    return noised
