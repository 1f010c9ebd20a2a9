"""Which class is taken for which."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ladder_core.attacks.base import NO_CLASS
from ladder_core.evaluation.white_box import Verdicts
from ladder_schema.report import MAX_CONFUSION_CLASSES, Confusion, Confusions


def confusions(clean: Tensor, labels: Tensor, verdicts: Verdicts, classes: int) -> Confusions | None:
    """Return both models' confusions, clean and attacked; None where there are too many classes to show.

    Args:
        clean: (N, 2) int64, what each model takes every test image for.
        labels: (N,) of the test images.
        verdicts: Of the strongest gradient attack.
        classes: K.
    """
    if classes > MAX_CONFUSION_CLASSES:
        return None
    # Only an attack on an image that was right can have changed what it is taken for.
    attacked = torch.where(verdicts.right, verdicts.predicted, clean[verdicts.positions])
    before, after = (_count(labels, clean[:, model], classes) for model in (0, 1))
    attacked_before, attacked_after = (
        _count(verdicts.labels, attacked[:, model], classes) for model in (0, 1)
    )
    return Confusions(
        clean_before=before,
        clean_after=after,
        attacked_before=attacked_before,
        attacked_after=attacked_after,
    )


def strongest(found: Sequence[Verdicts]) -> Verdicts:
    """Return the gradient attack that the hardened model withstood worst."""
    gradient = [verdicts for verdicts in found if verdicts.attack.is_gradient]
    return min(gradient, key=lambda verdicts: float(verdicts.held[:, 1].double().mean()))


def _count(labels: Tensor, predicted: Tensor, classes: int) -> Confusion:
    known = predicted != NO_CLASS
    cells = torch.bincount(labels[known] * classes + predicted[known], minlength=classes * classes)
    return Confusion(counts=tuple(tuple(row) for row in cells.reshape(classes, classes).tolist()))
