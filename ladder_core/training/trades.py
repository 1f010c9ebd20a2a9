"""TRADES: Zhang et al. 2019, https://arxiv.org/abs/1901.08573.

The loss is ``CE(f(x), y) + beta * KL(f(x) || f(x'))``: `objectives.Objective` sums it; here is its x'.
"""

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import Norm, Oracle, project
from ladder_core.attacks.fgsm import ascent_direction
from ladder_core.attacks.streams import SampleStreams
from ladder_core.training.objectives import divergence

_START = 1e-3
"""Standard deviation of the start's noise, in pixels: at x itself the divergence has no gradient."""


def most_divergent(
    model: nn.Module,
    images: Tensor,
    *,
    epsilon: float,
    steps: int,
    step: float,
    generator: torch.Generator,
    norm: Norm = "linf",
) -> Tensor:
    """Return images (B, C, H, W) in the ball whose predictions diverge most from those on the originals.

    Args:
        model: In evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        epsilon: Radius in pixels.
        steps: Gradient steps.
        step: Size of a step, in pixels.
        generator: CPU stream of the start's noise.
        norm: Of the ball.
    """
    oracle, rows = Oracle(model, images), torch.arange(len(images), device=images.device)
    clean = oracle.logits(images, rows)
    streams = SampleStreams.begin(generator, len(images), images.device)
    current = images + _START * streams.normal(*images.shape[1:])
    for _ in range(steps):
        gradient, _, _ = oracle.gradient(current, lambda logits: divergence(clean, logits), rows)
        current = project(current + step * ascent_direction(gradient, norm), images, norm, epsilon)
    return current.clamp(0, 1)
