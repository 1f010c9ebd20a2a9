"""AutoAttack's own doubts, as measurements: after ``checks.py`` of its code (Croce and Hein).

What they mean for a verdict is judged elsewhere; what Square alone broke is in the components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import Oracle
from ladder_core.attacks.losses import LossName, attack_loss
from ladder_core.attacks.samples import all_rows

_PASSES = 5
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Flags:
    """Measured on the first batch.

    Attributes:
        samples: How many it has.
        classes: K, logits of a sample.
        variation: Largest L2 distance between two of five answers to one image, each scaled to length 1;
            0 where the model is deterministic. The official code doubts from 1e-4 on.
        accuracies: Counts of right answers in the five passes.
        probabilities: Outputs lie in [0, 1] and sum to 1: they are no logits, and the losses saturate.
        zero_gradients: By loss ("ce", and "dlr" where it is defined): at how many images the gradient is 0.
        wrong_gradients: Likewise, at how many it is not finite.
    """

    samples: int
    classes: int
    variation: float
    accuracies: tuple[int, ...]
    probabilities: bool
    zero_gradients: dict[str, int]
    wrong_gradients: dict[str, int]


def measure_flags(model: nn.Module, images: Tensor, labels: Tensor) -> Flags:
    """Ask a model five times about a batch, and for the gradients of both losses.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
    """
    oracle, rows = Oracle(model, images), all_rows(images)
    passes = [oracle.logits(images, rows) for _ in range(_PASSES)]
    scaled = torch.stack([logits / (logits.norm(dim=1, keepdim=True) + 1e-10) for logits in passes])
    apart = (scaled[:, None] - scaled[None]).norm(dim=3)
    zero: dict[str, int] = {}
    wrong: dict[str, int] = {}
    losses: tuple[LossName, ...] = ("ce", "dlr") if passes[0].shape[1] >= 3 else ("ce",)
    for loss in losses:
        gradient, _, _ = oracle.gradient(images, attack_loss(loss, labels), rows)
        zero[loss] = int((gradient == 0).flatten(1).all(dim=1).sum())
        wrong[loss] = int((~gradient.isfinite()).flatten(1).any(dim=1).sum())
    return Flags(
        samples=len(images),
        classes=passes[0].shape[1],
        variation=float(apart.nan_to_num(nan=torch.inf).max()),
        accuracies=tuple(int((logits.argmax(dim=1) == labels).sum()) for logits in passes),
        probabilities=_are_probabilities(passes[-1]),
        zero_gradients=zero,
        wrong_gradients=wrong,
    )


def _are_probabilities(outputs: Tensor) -> bool:
    within = (outputs > -_TOLERANCE) & (outputs < 1 + _TOLERANCE)
    return bool(within.all() & ((outputs.sum(dim=1) - 1).abs() < _TOLERANCE).all())
