"""Projected gradient descent: Madry et al. 2018, https://arxiv.org/abs/1706.06083."""

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import AdversarialExamples, input_gradient, verified

# Asking which samples are broken waits for the device, so it is not asked at every step.
_STEPS_BETWEEN_CHECKS = 5


def _random_start(images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    noise = torch.empty(images.shape).uniform_(-epsilon, epsilon, generator=generator)
    return (images + noise.to(images.device)).clamp_(0, 1)


def _ascend(current: Tensor, gradient: Tensor, images: Tensor, step: float, epsilon: float) -> Tensor:
    moved = current + step * gradient.sign()
    return torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp_(0, 1)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    relative_step: float | None = None,
    restarts: int = 1,
) -> AdversarialExamples:
    """Untargeted Linf PGD on the cross-entropy, from a random start; broken samples leave the batch.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Linf radius in pixels.
        steps: Gradient steps per restart.
        generator: CPU stream of the random starts.
        relative_step: Step size as a share of epsilon; by default 2.5 / steps, at least 0.01.
        restarts: Random starts; samples already broken are not tried again.
    """
    step = epsilon * (relative_step if relative_step is not None else max(2.5 / steps, 0.01))
    found = images.clone()
    remaining = torch.arange(len(images), device=images.device)
    for _ in range(restarts):
        remaining = _run_once(model, images, labels, found, remaining, epsilon, step, steps, generator)
        if len(remaining) == 0:
            break
    return verified(model, images, labels, found, epsilon)


def _run_once(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    found: Tensor,
    remaining: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Run one restart on the remaining samples; writes what it breaks to ``found``, returns what is left."""
    originals, targets = images[remaining], labels[remaining]
    current = _random_start(originals, epsilon, generator)
    broken = torch.zeros(len(remaining), dtype=torch.bool, device=images.device)
    best = current
    for iteration in range(steps + 1):
        if iteration < steps:
            gradient, logits = input_gradient(model, current, targets)
        else:
            with torch.no_grad():
                logits = model(current)
        newly = (logits.argmax(dim=1) != targets) & ~broken
        best = torch.where(newly[:, None, None, None], current, best)
        broken |= newly
        if iteration == steps or iteration % _STEPS_BETWEEN_CHECKS == _STEPS_BETWEEN_CHECKS - 1:
            keep = ~broken
            found[remaining[broken]] = best[broken]
            remaining, originals, targets = remaining[keep], originals[keep], targets[keep]
            if iteration == steps or len(remaining) == 0:
                break
            current, best, gradient = current[keep], best[keep], gradient[keep]
            broken = broken[keep]
        current = _ascend(current, gradient, originals, step, epsilon)
    return remaining


def pgd_training_examples(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    relative_step: float,
    generator: torch.Generator,
) -> Tensor:
    """Return PGD's last iterate for each image, for training: every sample takes every step.

    Args:
        model: In the mode the gradients should see.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Linf radius in pixels.
        steps: Gradient steps.
        relative_step: Step size as a share of epsilon.
        generator: CPU stream of the random start.
    """
    current = _random_start(images, epsilon, generator)
    for _ in range(steps):
        gradient, _ = input_gradient(model, current, labels)
        current = _ascend(current, gradient, images, relative_step * epsilon, epsilon)
    return current
