"""A model that does not know its own data is refused, and told the likeliest reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ladder_core.classifier import load_classifier
from ladder_core.datasets import Dataset, Split, load_npz
from ladder_core.errors import ConfigError, DatasetError, ModelError
from ladder_core.validation import check_labels, check_preprocessing, check_skill
from ladder_schema.config import Preprocessing
from ladder_schema.errors import ErrorCode

CPU = torch.device("cpu")


def skill(path: Path, dataset: Dataset, preprocessing: Preprocessing = Preprocessing()) -> None:  # noqa: B008
    check_skill(load_classifier(path, preprocessing=preprocessing), dataset.test, preprocessing, CPU)


def scripted(network: nn.Module, path: Path) -> Path:
    torch.jit.script(network.eval()).save(str(path))
    return path


class Scaled(nn.Module):
    """The digits network behind an input scale of its own, as if trained that way."""

    def __init__(self, network: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x - self.shift) * self.scale)


def test_a_model_that_knows_its_data_passes(digits_model: Path, digits: Dataset) -> None:
    skill(digits_model, digits)


def test_an_untrained_model_is_refused(digits: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    with pytest.raises(ModelError, match="usual causes are preprocessing") as raised:
        skill(scripted(untrained, tmp_path / "m.pt"), digits)
    assert raised.value.code is ErrorCode.MODEL_NEAR_CHANCE


def test_a_wrong_value_range_is_named(digits_network: nn.Module, digits: Dataset, tmp_path: Path) -> None:
    class Bytes(Scaled):
        """Useless unless fed 0 to 255: anything smaller rounds to nothing."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(torch.floor(x / 16) / 16)

    path = scripted(Bytes(digits_network, 1.0, 0.0), tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"With preprocessing.value_range \[0, 255\] it reaches 9\d"):
        skill(path, digits)
    skill(path, digits, Preprocessing(value_range=(0, 255)))


def test_a_wrong_class_order_is_named(digits_model: Path, digits: Dataset) -> None:
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    shuffled = Split(digits.test.images, (order + 3)[digits.test.labels] % 10, digits.test.indices, 1.0)
    with pytest.raises(ModelError, match="order of the classes: give the labels in the order"):
        skill(digits_model, replace(digits, test=shuffled))


def test_labels_beyond_the_models_classes_are_refused(digits: Dataset) -> None:
    check_labels(digits, 10)
    with pytest.raises(DatasetError, match="class 9, but the model has 8 outputs") as raised:
        check_labels(digits, 8)
    assert raised.value.code is ErrorCode.DATASET_LABELS_INVALID


def test_class_names_must_fit_the_outputs(digits: Dataset) -> None:
    with pytest.raises(DatasetError, match="names 2 classes"):
        check_labels(replace(digits, class_names=("a", "b")), 10)


@pytest.mark.parametrize(
    ("preprocessing", "says"),
    [
        (Preprocessing(mean=(0.1, 0.2, 0.3)), "preprocessing.mean has 3 values"),
        (Preprocessing(std=(0.1, 0.2)), "preprocessing.std has 2 values"),
        (Preprocessing(channel_order="bgr"), "channel_order"),
    ],
)
def test_preprocessing_must_fit_the_images(preprocessing: Preprocessing, says: str, digits: Dataset) -> None:
    with pytest.raises(ConfigError, match=says):
        check_preprocessing(digits, preprocessing)


class Brightness(nn.Module):
    """One unbounded score per image: how bright it is, above 0 or above another threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.score = nn.Linear(64, 1)
        nn.init.constant_(self.score.weight, 1 / 64)
        nn.init.constant_(self.score.bias, -threshold)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.score(x.flatten(1)).squeeze(1)


@pytest.fixture
def bright_or_dark(tmp_path: Path) -> Dataset:
    labels = np.arange(200) % 2
    images = (
        np.random.default_rng(0).random((200, 8, 8), np.float32) / 2
        + labels[:, None, None].astype(np.float32) / 2
    )
    parts = {"x_train": images[:100], "y_train": labels[:100], "x_test": images[100:], "y_test": labels[100:]}
    np.savez(tmp_path / "d.npz", **parts)
    return load_npz(tmp_path / "d.npz", tmp_path, seed=0)


def test_one_logit_whose_sign_fits_the_labels_passes(bright_or_dark: Dataset, tmp_path: Path) -> None:
    skill(scripted(Brightness(0.5), tmp_path / "m.pt"), bright_or_dark)


def test_one_score_that_is_no_logit_is_not_taken_for_one(bright_or_dark: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"one unbounded score per image.*regression") as raised:
        skill(scripted(Brightness(-3.0), tmp_path / "m.pt"), bright_or_dark)
    assert raised.value.code is ErrorCode.MODEL_NEAR_CHANCE
