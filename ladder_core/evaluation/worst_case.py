"""The worst over all attacks, image by image, and class by class."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_schema.report import ClassResult

Held = tuple[Indices, Tensor]
"""Of an attack the sorted positions (n,) of its images, and (n, 2) bool, whether each model was right and not
broken by an example within the threat model."""


def worst_case(everywhere: Sequence[Held], elsewhere: Sequence[Held] = ()) -> Held:
    """Return the images that attacks ran on, and which of them each model held against all.

    Args:
        everywhere: Attacks that have to have run on an image for it to be counted; at least one.
        elsewhere: Attacks that count on whichever of these images they ran on.
    """
    (positions, held), *others = everywhere
    for other, verdicts in others:
        positions, ours, theirs = np.intersect1d(positions, other, assume_unique=True, return_indices=True)
        held = held[ours] & verdicts[theirs]
    held = held.clone()
    for other, verdicts in elsewhere:
        _, ours, theirs = np.intersect1d(positions, other, assume_unique=True, return_indices=True)
        held[ours] &= verdicts[theirs]
    return positions, held


def class_results(
    clean: Tensor, labels: Tensor, held: Tensor, held_labels: Tensor
) -> tuple[ClassResult, ...]:
    """Return each class' results; a class no image of which was attacked is left out.

    Args:
        clean: (N, 2) bool, which test images each model is right about.
        labels: (N,) of the test images.
        held: (n, 2) bool, the worst case.
        held_labels: (n,) of its images.
    """
    return tuple(
        ClassResult(
            label=label,
            clean=paired(clean[labels == label]),
            worst_case=paired(held[held_labels == label]),
        )
        for label in torch.unique(held_labels).tolist()
    )
