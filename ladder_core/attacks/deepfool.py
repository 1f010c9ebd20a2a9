"""DeepFool: Moosavi-Dezfooli et al. 2016, https://arxiv.org/abs/1511.04599."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.fgsm import ascent_direction
from ladder_core.attacks.samples import Samples, all_rows, check_is_due

# Added to each step, in pixels: an iterate that is exactly on a boundary must still cross it.
_BEYOND = 1e-6


def deepfool(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: Norm = "l2",
    iterations: int = 50,
    top_k: int = 10,
    overshoot: float = 0.02,
) -> AttackResult:
    """Step, again and again, onto the nearest boundary of the model made linear (the paper's Algorithm 2).

    An image that is misclassified as it is (taken for its target) is returned as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        targets: (B,) classes to be taken for: the only boundary that is then stepped onto.
        norm: In which the boundary is nearest.
        iterations: Most steps.
        top_k: Boundaries with the likeliest classes are considered, so many with the label's own.
        overshoot: Share that is added to the whole of the change.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    require(norm in ("linf", "l2"), "norm", norm, "give 'linf' or 'l2'")
    require(iterations >= 1, "iterations", iterations, "give at least 1")
    require(top_k >= 2, "top_k", top_k, "give at least 2")
    require(overshoot >= 0, "overshoot", overshoot, "give a share from 0 on")
    oracle, rows = Oracle(model, images), all_rows(images)
    logits = oracle.logits(images, rows)
    others = likeliest_others(logits, labels, top_k - 1) if targets is None else targets[:, None]
    candidates = images.clone()
    walkers = _Walkers(rows, images, labels, targets, others, images, torch.zeros_like(images))
    walkers = walkers.of(~succeeded(logits, labels, targets))
    for iteration in range(iterations if len(walkers) else 0):
        walkers, done = _step(oracle, walkers, norm, overshoot)
        if check_is_due(iteration, images.device) and done.any():
            candidates[walkers.rows] = walkers.current
            walkers = walkers.of(~done)
            if len(walkers) == 0:
                break
    candidates[walkers.rows] = walkers.current
    taken = int(oracle.queries.max()) - 1 if len(images) else 0
    return finish(oracle, images, labels, candidates, iterations=taken, targets=targets)


def likeliest_others(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the classes (B, count or all K - 1) that follow the labels (B,), the largest logit first."""
    count = min(count, logits.shape[1] - 1)
    return logits.scatter(1, labels[:, None], -torch.inf).topk(count, dim=1).indices


@dataclass(frozen=True)
class _Walkers(Samples):
    """Samples on their way: originals, classes, the other classes (n, M), iterates, and the steps' sum."""

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    others: Tensor
    current: Tensor
    moved: Tensor


def _step(oracle: Oracle, walkers: _Walkers, norm: Norm, overshoot: float) -> tuple[_Walkers, Tensor]:
    """Step onto the nearest boundary; return also who was done (n,), and so was not moved."""

    def gaps(logits: Tensor) -> Tensor:
        return logits.gather(1, walkers.others) - logits.gather(1, walkers.labels[:, None])

    gradients, values, logits = oracle.several_gradients(walkers.current, gaps, walkers.rows)
    done = succeeded(logits, walkers.labels, walkers.targets)
    # To the boundary of a linear model: its gap, over the gradient's length in the dual norm.
    lengths = gradients.flatten(2).norm(p=1 if norm == "linf" else 2, dim=2)
    distances, nearest = (values.abs() / lengths.clamp_min(1e-30)).min(dim=1)
    gradient = gradients[all_rows(gradients), nearest]
    step = per_sample(distances + _BEYOND, gradient) * ascent_direction(gradient, norm)
    moved = walkers.moved + step
    reached = (walkers.images + (1 + overshoot) * moved).clamp_(0, 1)
    current = torch.where(per_sample(done, reached), walkers.current, reached)
    return replace(walkers, current=current, moved=moved), done
