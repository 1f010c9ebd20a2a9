"""The digits as the method sees them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ladder_core.classifier import Classifier, load_classifier
from ladder_core.datasets import Dataset, load_npz


@pytest.fixture
def digits_classifier(digits_model: Path) -> Classifier:
    return load_classifier(digits_model)


@pytest.fixture
def digits(digits_npz: Path, tmp_path: Path) -> Dataset:
    return load_npz(digits_npz, tmp_path, seed=0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """These models are too small to share out: threads that wait for a busy core cost more than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
