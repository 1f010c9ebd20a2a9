"""What attacks maximise: functions from logits (B, K) to a value a sample (B,)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LossName = Literal["ce", "dlr", "cw"]
_TINY = 1e-12


def attack_loss(name: LossName, labels: Tensor, targets: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return what an attack raises to lead away from the labels or, given targets, towards them.

    Args:
        name: Cross-entropy, difference of logits ratio, or Carlini and Wagner's margin.
        labels: (B,) true classes.
        targets: (B,) classes to be taken for.

    Raises:
        ValueError: There is no such loss.
    """
    if name == "ce":
        return lambda logits: (
            cross_entropy(logits, labels) if targets is None else -cross_entropy(logits, targets)
        )
    if name == "dlr":
        return lambda logits: (
            dlr(logits, labels) if targets is None else targeted_dlr(logits, labels, targets)
        )
    if name == "cw":
        return lambda logits: margin(logits, labels) if targets is None else targeted_margin(logits, targets)
    raise ValueError(f"loss is {name!r}: give 'ce', 'dlr' or 'cw'")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels (B,)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the label's: above 0 where misclassified (Carlini and Wagner 2017, f6)."""
    return _best_other(logits, labels) - _of(logits, labels)


def targeted_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the largest other: above 0 where the target is predicted."""
    return -margin(logits, targets)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, Eq. 6): ``-(z_y - max_{i != y} z_i) / (z_1 - z_3)``.

    z_1 >= z_2 >= ... are the sorted logits. With two classes there is no third: the ratio is then undefined.

    Raises:
        ValueError: There are fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"the DLR loss needs at least 3 classes, the model has {logits.shape[1]}: use CE")
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + _TINY)


def logit_difference(upper: Tensor, lower: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function whose values are one class' logit less another's, classes (B,)."""
    return lambda logits: _of(logits, upper) - _of(logits, lower)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted DLR (Croce and Hein 2020, Eq. 7): ``-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)``.

    Raises:
        ValueError: There are fewer than four classes.
    """
    if logits.shape[1] < 4:
        raise ValueError(f"the targeted DLR loss needs at least 4 classes, the model has {logits.shape[1]}")
    top = logits.topk(4, dim=1).values
    scale = top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + _TINY
    return (_of(logits, targets) - _of(logits, labels)) / scale


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _best_other(logits: Tensor, labels: Tensor) -> Tensor:
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1)
