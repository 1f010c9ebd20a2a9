"""Noise: Hendrycks and Dietterich 2019, section 4.1 and appendix."""

import math

import torch
from torch import Tensor

from ladder_core.attacks.streams import SampleStreams

_LEVELS = 256


def gaussian_noise(images: Tensor, constants: tuple[float, ...], streams: SampleStreams) -> Tensor:
    """Add noise of standard deviation ``constants[0]``: low light."""
    (deviation,) = constants
    return images + deviation * streams.normal(*images.shape[1:])


def shot_noise(images: Tensor, constants: tuple[float, ...], streams: SampleStreams) -> Tensor:
    """Count photons, ``constants[0]`` of them on average where a pixel is 1: Poisson noise.

    A pixel's mean is that of the nearest of 256 levels, which is what its noise hides many times over.
    """
    (photons,) = constants
    levels = (images * (_LEVELS - 1)).round().long()
    distribution = _poisson_distributions(photons)
    width = distribution.shape[1]
    # Level n's distribution function lies in [n, n + 1], so that one search finds a draw among all of them.
    offsets = torch.arange(_LEVELS, dtype=torch.float64)[:, None]
    steps = (distribution + offsets).flatten().to(images.device)
    drawn = streams.uniform(*images.shape[1:]).double() + levels
    counts = torch.searchsorted(steps, drawn, right=True) - levels * width
    return counts.float() / photons


def _poisson_distributions(photons: float) -> Tensor:
    """Return P(X <= k), (256, most) float64, of Poisson variables of means from 0 to ``photons``."""
    means = torch.linspace(0, photons, _LEVELS, dtype=torch.float64)[:, None]
    counts = torch.arange(int(photons + 10 * math.sqrt(photons) + 20), dtype=torch.float64)
    logarithms = torch.xlogy(counts, means) - means - torch.lgamma(counts + 1)
    distribution = logarithms.exp().cumsum(dim=1).clamp_max_(1)
    distribution[:, -1] = 1
    return distribution


def impulse_noise(images: Tensor, constants: tuple[float, ...], streams: SampleStreams) -> Tensor:
    """Set a share ``constants[0]`` of all elements to 0 or 1, as many to each: bit errors."""
    (share,) = constants
    drawn = streams.uniform(*images.shape[1:])
    salted = torch.where(drawn < share / 2, 1.0, images)
    return torch.where((drawn >= share / 2) & (drawn < share), 0.0, salted)
