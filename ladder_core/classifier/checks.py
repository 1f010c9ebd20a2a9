"""Is the upload a classifier, and does its compiled form say what the file says?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ladder_core.classifier.outputs import OutputForm, OutputSpec
from ladder_core.classifier.upload import RestoredFile
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

# The file and its compiled form run the same operators; only fusion inside TorchScript may differ.
_RELATIVE_TOLERANCE = 1e-3
_ABSOLUTE_TOLERANCE = 1e-4
_REASON_LENGTH = 300


def agree(scores: Tensor, expected: Tensor) -> bool:
    """Whether two runs of one program say the same of the same images."""
    return torch.allclose(scores, expected, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE, equal_nan=True)


def check_classes(classes: int, form: OutputForm) -> None:
    """Check that the scores are those of one class out of several.

    Args:
        classes: K, as the classifier's logits have it: two for one number per image.
        form: The scale of the file's scores.

    Raises:
        ModelError: ``MODEL_NOT_CLASSIFIER`` for a multi-label model, or a softmax over one score.
    """
    if form is OutputForm.BINARY_PROBABILITY and classes > 2:
        raise _not_classifier(
            f"the model ends in a sigmoid over {classes // 2} scores, as multi-label models do; exactly one "
            "class per image is needed: end in logits or softmax, or in one sigmoid for two classes"
        )
    if classes < 2:
        raise _not_classifier(
            "the model ends in a softmax over one score, which is 1 for every image; for two classes end in "
            "a sigmoid or in two logits"
        )


def check_scores(logits: Tensor, x: Tensor) -> None:
    """Check that a batch got one row of scores per image.

    Raises:
        ModelError: ``MODEL_NOT_CLASSIFIER``.
    """
    if logits.dim() != 2 or len(logits) != len(x) or not logits.is_floating_point():
        raise _not_classifier(
            f"the output for {len(x)} images has shape {tuple(logits.shape)} and type {logits.dtype}; "
            "a classifier returns one floating-point score per image and class, shape (N, K)"
        )


def check_same_as_file(logits: Tensor, images: Tensor, output: OutputSpec, file: RestoredFile) -> None:
    """Check that the compiled program says what the file says; every report rests on this.

    Args:
        logits: What the classifier made of the images, (N, K).
        images: The images, preprocessed.
        output: How the file returns its scores.
        file: The file with the classifier's present weights, in eval mode.

    Raises:
        ModelError: ``MODEL_NOT_CLASSIFIER`` if the file returns something else than one score per class,
            ``MODEL_UNSUPPORTED`` if the scores differ.
    """
    scores = file.scores(images, output)
    if scores is None:
        return
    expected = output.from_logits(logits)
    if scores.numel() != expected.numel() or math.prod(scores.shape[2:]) != 1:
        raise _not_classifier(
            f"the file returns scores of shape {tuple(scores.shape)} for {len(images)} images; return one "
            "score per image and class, shape (N, K)"
        )
    expected = expected.reshape(scores.shape).to(scores.dtype)
    if not agree(scores, expected):
        difference = (scores - expected).abs().max().item()
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            f"the compiled program's scores differ from the file's by {difference:.3g}, so the program was "
            "not understood; end the model in logits of shape (N, K)",
        )


def one_position_needed(positions: int) -> ModelError:
    """The error for a convolution as head that is applied to more than one position."""
    return _not_classifier(
        f"the model ends in a convolution over {positions} positions of each image, as segmentation models "
        "do; pool to one position, or end in a linear layer"
    )


def images_rejected(x: Tensor, error: Exception) -> ModelError:
    """The error for a model that raises on a batch of images."""
    reason = " ".join(str(error).split())[:_REASON_LENGTH]
    return ModelError(
        ErrorCode.MODEL_REJECTS_IMAGES,
        f"the model does not accept images of shape {tuple(x.shape[1:])} (channels, height, width): {reason}",
    )


def _not_classifier(message: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_NOT_CLASSIFIER, message)
