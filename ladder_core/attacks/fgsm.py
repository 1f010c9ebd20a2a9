"""Fast gradient sign method: Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572."""

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import AdversarialExamples, input_gradient, verified


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AdversarialExamples:
    """One Linf step of size epsilon along the sign of the loss gradient; untargeted.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Step and Linf radius, in pixels.
    """
    gradient, _ = input_gradient(model, images, labels)
    return verified(model, images, labels, torch.clamp(images + epsilon * gradient.sign(), 0, 1), epsilon)
