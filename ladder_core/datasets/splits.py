"""Which images are trained on and which are measured on."""

import numpy as np

from ladder_core.datasets.base import Split, split_stratified
from ladder_core.errors import DatasetError
from ladder_schema.errors import ErrorCode

TEST_SHARE = 0.2
"""The share of the images that is held out where no test split was given."""


def choose_splits(
    train: Split, test: Split | None, validation: Split | None, *, seed: int
) -> tuple[Split, Split, tuple[str, ...]]:
    """Return what is trained on, what is measured on, and what was decided, for the report.

    A test split is measured on; without one the validation split is; with both the validation split is left
    out, since the model may have been chosen by it, which makes it neither training nor test data.

    Args:
        train: What was given to train on.
        test: What was given to measure on; None or empty if nothing was.
        validation: The same of a validation split.
        seed: Of the stratified split, where there is nothing to measure on.

    Raises:
        DatasetError: There are too few images to split, or what is trained on is of one class.
    """
    notes: tuple[str, ...] = ()
    if test:
        if validation:
            notes = (
                f"The {len(validation)} validation images were left out; the test images were measured on.",
            )
    elif validation:
        test = validation
        notes = (
            f"No labelled test images were given: the {len(validation)} validation images were measured on.",
        )
    else:
        train, test = split_stratified(train, TEST_SHARE, seed)
        note = (
            f"No test split was given: {len(test)} images, a stratified choice, were held out. The uploaded "
            "model may have been trained on them, and then every figure of before hardening is too high."
        )
        notes = (note,)
    classes = np.unique(train.targets())
    if len(classes) < 2:
        raise DatasetError(
            ErrorCode.DATASET_TOO_FEW_CLASSES,
            f"the training images are all of one class ({classes[0]}): a boundary needs at least two",
        )
    return train, test, notes
