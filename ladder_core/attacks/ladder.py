"""LADDER's own attack: images generated from latents moved across a boundary (paper section 3.1)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ladder_core.boundary import Boundaries
from ladder_core.perturb import Perturbation, nearest_targets, perturb, random_targets


@dataclass(frozen=True)
class LadderAttacker:
    """What the attack needs of the original model, all frozen.

    Attributes:
        boundaries: The attention SVMs.
        generator: From latents to images, in evaluation mode.
        head_weight: (K, D), a copy: the model under training moves its own.
        head_bias: (K,), likewise.
        targets: How target classes are chosen.
    """

    boundaries: Boundaries
    generator: nn.Module
    head_weight: Tensor
    head_bias: Tensor
    targets: Literal["random", "nearest"]

    @torch.no_grad()
    def perturb(
        self, latents: Tensor, labels: Tensor, rho: tuple[float, float], stream: torch.Generator
    ) -> Perturbation:
        """Move latents (B, D) of classes (B,) by a relative step drawn from the range rho.

        ``stream`` is a CPU generator: the same draws on every device.
        """
        if self.targets == "nearest":
            targets = nearest_targets(self.head(latents), labels, self.boundaries)
        else:
            targets = random_targets(labels, self.boundaries, stream)
        low, high = rho
        steps = (low + (high - low) * torch.rand(len(latents), generator=stream)).to(latents.device)
        directions = self.boundaries.directions(latents, labels, targets)
        return perturb(latents, labels, targets, steps, directions, self.head_weight, self.head_bias)

    def head(self, latents: Tensor) -> Tensor:
        """Return the original head's logits (B, K) of latents (B, D)."""
        return torch.addmm(self.head_bias, latents, self.head_weight.T)

    @torch.no_grad()
    def images(self, latents: Tensor) -> Tensor:
        """Return the generator's images (B, C, H, W) of latents (B, D), in [0, 1]."""
        images: Tensor = self.generator(latents)
        return images.clamp(0, 1)
