"""The first stage: does the model know its own data, and if not, why (so that the user can mend it)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ladder_core.attacks.base import predicted_classes
from ladder_core.classifier import Classifier, OutputForm
from ladder_core.classifier.preprocessing import Preprocess
from ladder_core.datasets import Dataset, Split
from ladder_core.datasets.base import Indices
from ladder_core.errors import ConfigError, DatasetError, ModelError
from ladder_schema.config import Preprocessing
from ladder_schema.errors import ErrorCode

PROBE_SAMPLES = 1_000
_BATCH = 250
# A model must be this share of the way from guessing the commonest class to perfect.
_LEAST_SKILL = 0.1


@dataclass(frozen=True)
class _Guess:
    """A usual mistake, and the configuration that would mend it."""

    remedy: str
    preprocessing: Preprocessing


def check_head(model: Classifier) -> None:
    """Check that the method's closed-form step applies to the model's head.

    Raises:
        ModelError: It does not.
    """
    if not model.head_is_affine:
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            f"the model's head ({model.describe().head}) is no linear layer, which method ladder needs: end "
            "the model in one, or choose method pgd",
        )


def check_labels(dataset: Dataset, classes: int) -> None:
    """Check that every label is one of the model's classes.

    Raises:
        DatasetError: One is not.
    """
    counted = " (one score per image counts as two: is the model a regression?)" if classes == 2 else ""
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        largest = int(split.targets().max())
        if largest >= classes:
            raise DatasetError(
                ErrorCode.DATASET_LABELS_INVALID,
                f"the {name} labels hold class {largest}, but the model has {classes} outputs{counted}, "
                f"classes 0 to {classes - 1}: check the label encoding, or upload the model that was "
                "trained on these classes",
            )
    if dataset.class_names and len(dataset.class_names) != classes:
        raise DatasetError(
            ErrorCode.DATASET_LABELS_INVALID,
            f"the dataset names {len(dataset.class_names)} classes, but the model has {classes} outputs: "
            "give one name (for image folders: one folder) per output, in order",
        )


def check_preprocessing(dataset: Dataset, preprocessing: Preprocessing) -> None:
    """Check that the preprocessing has as many channels as the images.

    Raises:
        ConfigError: It has not.
    """
    channels = dataset.train.image_shape[0]
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if values is not None and len(values) not in (1, channels):
            raise ConfigError(
                ErrorCode.CONFIG_UNSUITABLE,
                f"preprocessing.{name} has {len(values)} values, but the images have {channels} channels: "
                f"give {channels} values, or one for all",
            )
    if preprocessing.channel_order == "bgr" and channels != 3:
        raise ConfigError(
            ErrorCode.CONFIG_UNSUITABLE,
            f"preprocessing.channel_order is bgr, but the images have {channels} channel(s): leave it out",
        )


def check_skill(model: Classifier, split: Split, preprocessing: Preprocessing, device: torch.device) -> None:
    """Check that the model is well above guessing on the given images.

    Args:
        model: In evaluation mode.
        split: A stratified choice of at most `PROBE_SAMPLES` test images.
        preprocessing: As configured, to be compared with others.
        device: Where the model is.

    Raises:
        ModelError: It is near chance; the message names the likeliest cause that was found.
    """
    labels = split.targets()
    chance = np.bincount(labels).max() / len(labels)
    predictions = _predict(model, split, device)
    accuracy = float((predictions == labels).mean())
    if accuracy >= chance + _LEAST_SKILL * (1 - chance):
        return
    cause = _likely_cause(model, split, preprocessing, predictions, accuracy, device)
    raise ModelError(
        ErrorCode.MODEL_NEAR_CHANCE,
        f"the model classifies {accuracy:.1%} of {len(labels)} test images correctly, where always answering "
        f"the commonest class gives {chance:.1%}. {cause}",
    )


@torch.no_grad()
def _predict(model: Classifier, split: Split, device: torch.device) -> Indices:
    parts = [predicted_classes(model(images)).cpu() for _, images, _ in split.batches(_BATCH, device)]
    return torch.cat(parts).numpy()


def _likely_cause(
    model: Classifier,
    split: Split,
    preprocessing: Preprocessing,
    predictions: Indices,
    accuracy: float,
    device: torch.device,
) -> str:
    """Try the usual mistakes, and name the one whose correction helps most."""
    chance = np.bincount(split.targets()).max() / len(split)
    enough = max(chance + _LEAST_SKILL * (1 - chance), accuracy + 0.2)
    best, remedy = accuracy, ""
    twin = model.clone()
    for guess in _guesses(split, preprocessing):
        if guess.preprocessing == preprocessing:
            continue
        twin.preprocess = Preprocess(guess.preprocessing).to(device)
        tried = _predict(twin, split, device)
        rate = float((tried == split.targets()).mean())
        if rate > best:
            best, remedy = rate, guess.remedy
    if best >= enough:
        return f"With {remedy} it reaches {best:.1%}: set that in the configuration."
    permuted = _best_permutation(predictions, split.targets())
    if permuted >= max(enough, 0.5):
        return (
            f"Its answers match the labels {permuted:.1%} of the time under another order of the classes: "
            "give the labels in the order of the model's outputs."
        )
    if model.describe().output_form is OutputForm.BINARY_LOGIT:
        return (
            "It returns one unbounded score per image, which was read as the logit of class 1 of two: "
            "if it is a regression, or needs another threshold than 0, end it in a sigmoid or in two logits."
        )
    return (
        "The usual causes are preprocessing (set config.preprocessing to what the model was trained with), "
        "the order of the classes, or a model file without its trained weights."
    )


def _guesses(split: Split, preprocessing: Preprocessing) -> Iterator[_Guess]:
    """Yield what models are usually trained with, keeping the configured size."""

    def guess(remedy: str, **changes: object) -> _Guess:
        base = {"resize": preprocessing.resize}
        return _Guess(remedy, Preprocessing.model_validate({**base, **changes}))

    yield guess("no preprocessing")
    yield guess("preprocessing.value_range [0, 255]", value_range=(0.0, 255.0))
    yield guess("preprocessing.value_range [-1, 1]", value_range=(-1.0, 1.0))
    mean, std = _channel_statistics(split)
    yield guess(f"preprocessing.mean {mean} and std {std}", mean=mean, std=std)
    if split.image_shape[0] == 3:
        imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        yield guess("ImageNet's preprocessing.mean and std", **imagenet)
        yield guess("preprocessing.channel_order bgr", channel_order="bgr")


def _channel_statistics(split: Split) -> tuple[list[float], list[float]]:
    """Return each channel's mean and standard deviation; large images are not held all at once."""
    total = torch.zeros(2, split.image_shape[0], dtype=torch.float64)
    for _, images, _ in split.batches(_BATCH):
        values = images.double()
        total += torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
    first, second = total / (len(split) * split.image_shape[1] * split.image_shape[2])
    std = (second - first.square()).clamp_min(0).sqrt()
    return [round(v, 4) for v in first.tolist()], [max(round(v, 4), 1e-3) for v in std.tolist()]


def _best_permutation(predictions: Indices, labels: Indices) -> float:
    """Return the accuracy under the best one-to-one renaming of the predicted classes."""
    size = int(max(predictions.max(), labels.max())) + 1
    counts = np.zeros((size, size), dtype=np.int64)
    named = predictions >= 0
    np.add.at(counts, (predictions[named], labels[named]), 1)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / len(labels))
