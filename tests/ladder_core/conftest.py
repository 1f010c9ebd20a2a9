"""The digits as the method sees them."""

from pathlib import Path

import pytest

from ladder_core.classifier import Classifier, load_classifier
from ladder_core.datasets import Dataset, load_npz


@pytest.fixture
def digits_classifier(digits_model: Path) -> Classifier:
    return load_classifier(digits_model)


@pytest.fixture
def digits(digits_npz: Path, tmp_path: Path) -> Dataset:
    return load_npz(digits_npz, tmp_path, seed=0)
