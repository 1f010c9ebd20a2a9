"""From an image back to a conditional GAN's code."""

from typing import Protocol

import torch
from torch import Tensor

from ladder_core.attacks.base import full_precision
from ladder_core.attacks.streams import SampleStreams


class ConditionalGan(Protocol):
    """What the search asks of a GAN; `ladder_core.generators.acgan.AcGan` is one."""

    @property
    def code_dimension(self) -> int:
        """Size of a code z ~ N(0, I)."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""

    def generate(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [0, 1] of codes (B, Z) and classes (B,)."""

    def classify(self, images: Tensor) -> Tensor:
        """Return the auxiliary classifier's logits (B, K) of images (B, C, H, W)."""


def invert(
    gan: ConditionalGan,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    iterations: int = 200,
    candidates: int = 8,
    learning_rate: float = 0.05,
) -> Tensor:
    """Return codes (B, Z) whose images are near given ones: the nearest of some random codes, then Adam.

    Minimises the mean squared error per pixel; codes begin as draws of N(0, I), and hardly leave it.

    Args:
        gan: In evaluation mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) their classes.
        generator: CPU stream that each sample's own is drawn from.
        iterations: Of Adam.
        candidates: Random codes an image.
        learning_rate: Of Adam.
    """
    streams = SampleStreams.begin(generator, len(images), images.device)
    with full_precision(images.device):
        codes = _nearest(gan, images, labels, streams.normal(candidates, gan.code_dimension))
        with torch.enable_grad():
            codes.requires_grad_()
            optimiser = torch.optim.Adam([codes], lr=learning_rate)
            for _ in range(iterations):
                error = (gan.generate(codes, labels) - images).square().flatten(1).mean(dim=1)
                (codes.grad,) = torch.autograd.grad(error.sum(), codes)
                optimiser.step()
    return codes.detach()


@torch.no_grad()
def _nearest(gan: ConditionalGan, images: Tensor, labels: Tensor, codes: Tensor) -> Tensor:
    """Return the one (B, Z) of each sample's codes (B, n, Z) whose image is nearest."""
    errors = [
        (gan.generate(some, labels) - images).square().flatten(1).sum(dim=1) for some in codes.unbind(dim=1)
    ]
    nearest = torch.stack(errors, dim=1).argmin(dim=1)
    return codes[torch.arange(len(codes), device=codes.device), nearest]
