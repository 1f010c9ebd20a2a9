"""Fast gradient sign method: Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572."""

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.losses import attack_loss
from ladder_core.attacks.samples import all_rows


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

    An image that is misclassified as it is (taken for its target) is returned as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Step and radius, in pixels.
        norm: Of the step.
        targets: (B,) classes to be taken for; without them, any class but the label.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    check_radius(epsilon)
    oracle = Oracle(model, images)
    gradient, _, logits = oracle.gradient(images, attack_loss("ce", labels, targets), all_rows(images))
    stay = per_sample(succeeded(logits, labels, targets), images)
    candidates = torch.where(stay, images, images + epsilon * ascent_direction(gradient, norm))
    return finish(
        oracle, images, labels, candidates, iterations=1, targets=targets, norm=norm, epsilon=epsilon
    )


def ascent_direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the step of length 1 in the norm that raises the loss fastest; 0 where the gradient is.

    Raises:
        ValueError: There is no such norm.
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l2":
        length = per_sample(gradient.flatten(1).norm(dim=1), gradient)
        return gradient / length.clamp_min(1e-30)
    raise ValueError(f"norm is {norm!r}: give 'linf' or 'l2'")
