"""Fast gradient sign method: Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572."""

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample
from ladder_core.attacks.losses import cross_entropy


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    targets: Tensor | None = None,
) -> AttackResult:
    """One step of length epsilon along the loss gradient: its sign (Linf), or the gradient itself (L2).

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Step and radius, in pixels.
        norm: Of the step.
        targets: (B,) classes to be taken for; without them, any class but the label.
    """
    oracle, rows = Oracle(model, images), torch.arange(len(images), device=images.device)

    def loss(logits: Tensor) -> Tensor:
        return cross_entropy(logits, labels) if targets is None else -cross_entropy(logits, targets)

    gradient, _, _ = oracle.gradient(images, loss, rows)
    candidates = images + epsilon * ascent_direction(gradient, norm)
    return finish(
        oracle, images, labels, candidates, iterations=1, targets=targets, norm=norm, epsilon=epsilon
    )


def ascent_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of length 1 in the norm that raises the loss fastest; 0 where the gradient is."""
    if norm == "linf":
        return gradient.sign()
    length = per_sample(gradient.flatten(1).norm(dim=1), gradient)
    return gradient / length.clamp_min(1e-30)
