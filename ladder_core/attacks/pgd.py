"""Projected gradient descent: Madry et al. 2018, https://arxiv.org/abs/1706.06083."""

from functools import partial

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import AttackResult, Oracle, finish
from ladder_core.attacks.losses import cross_entropy

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
    restarts: int = 1,
) -> AttackResult:
    """Untargeted Linf PGD on the cross-entropy, from a random start; broken samples leave the batch.

    An example it returns has just crossed the boundary of this model: to replay it on another, take
    `pgd_last_iterate`, which goes on.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Linf radius in pixels.
        steps: Gradient steps per restart, of `step_size`.
        generator: CPU stream of the random starts.
        restarts: Random starts; samples already broken are not tried again.
    """
    found = images.clone()
    remaining = torch.arange(len(images), device=images.device)
    oracle = Oracle(model, images)
    for _ in range(restarts):
        remaining = _run_once(oracle, images, labels, found, remaining, epsilon, steps, generator)
        if len(remaining) == 0:
            break
    return finish(oracle, images, labels, found, iterations=restarts * steps, norm="linf", epsilon=epsilon)


def step_size(epsilon: float, steps: int) -> float:
    """Return the usual step, in pixels: enough to cross the ball 2.5 times, at least a hundredth of it."""
    return epsilon * max(2.5 / steps, 0.01)


def _run_once(
    oracle: Oracle,
    images: Tensor,
    labels: Tensor,
    found: Tensor,
    remaining: Tensor,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Run one restart on the remaining samples; writes iterates to ``found``, returns what is not broken."""
    originals, targets = images[remaining], labels[remaining]
    current = _random_start(originals, epsilon, generator)
    broken = torch.zeros(len(remaining), dtype=torch.bool, device=images.device)
    best = current
    for iteration in range(steps + 1):
        if iteration < steps:
            gradient, _, logits = oracle.gradient(current, partial(cross_entropy, labels=targets), remaining)
        else:
            logits = oracle.logits(current, remaining)
        best = torch.where(broken[:, None, None, None], best, current)
        broken |= logits.argmax(dim=1) != targets
        if iteration == steps or iteration % _STEPS_BETWEEN_CHECKS == _STEPS_BETWEEN_CHECKS - 1:
            found[remaining] = best
            keep = ~broken
            remaining, originals, targets = remaining[keep], originals[keep], targets[keep]
            if iteration == steps or len(remaining) == 0:
                break
            current, best, gradient, broken = current[keep], best[keep], gradient[keep], broken[keep]
        current = _ascend(current, gradient, originals, step_size(epsilon, steps), epsilon)
    return remaining


def pgd_last_iterate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step: float,
    generator: torch.Generator,
) -> Tensor:
    """Return PGD's last iterate for each image: every sample takes every step.

    For adversarial training, and for examples that are replayed on another model.

    Args:
        model: In the mode the gradients should see.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Linf radius in pixels.
        steps: Gradient steps.
        step: Size of a step, in pixels.
        generator: CPU stream of the random start.
    """
    current = _random_start(images, epsilon, generator)
    oracle, rows = Oracle(model, images), torch.arange(len(images), device=images.device)
    for _ in range(steps):
        gradient, _, _ = oracle.gradient(current, partial(cross_entropy, labels=labels), rows)
        current = _ascend(current, gradient, images, step, epsilon)
    return current
