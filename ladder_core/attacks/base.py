"""What every attack returns, and the check of what it promises."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AdversarialExamples:
    """An attack's result.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1]; where the attack failed, its last attempt.
        success: (B,) bool, whether the model misclassifies the image, by a forward pass of its own.
    """

    images: Tensor
    success: Tensor


@torch.no_grad()
def verified(
    model: nn.Module, images: Tensor, labels: Tensor, candidates: Tensor, epsilon: float
) -> AdversarialExamples:
    """Project an attack's candidates on its threat model, and classify what is left.

    Nobody has to trust an attack: pixels leave inside [0, 1] and inside the Linf ball, and success is the
    model's own answer on exactly the images returned.

    Args:
        model: Images (B, C, H, W) to logits (B, K), in evaluation mode.
        images: Originals.
        labels: (B,) true classes.
        candidates: What the attack returned.
        epsilon: Linf radius in pixels.
    """
    projected = torch.minimum(torch.maximum(candidates, images - epsilon), images + epsilon).clamp(0, 1)
    success = model(projected).argmax(dim=1) != labels
    return AdversarialExamples(projected, success)


def input_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy's gradient by the images, and the logits it was computed from."""
    with torch.enable_grad():
        inputs = images.detach().requires_grad_()
        logits = model(inputs)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
    return gradient, logits.detach()
