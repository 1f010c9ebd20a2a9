"""Small real inputs: a trained classifier of scikit-learn's digits, as a user would upload it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn


def train_digits_network(images: np.ndarray, labels: np.ndarray) -> nn.Module:
    """A small network with batch norm, trained to about 98%."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        x, y = torch.from_numpy(images)[:, None], torch.from_numpy(labels)
        for _ in range(12):
            for batch in torch.randperm(len(x)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimiser.step()
    return network.eval()


@pytest.fixture(scope="session")
def digits_arrays() -> dict[str, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(images, labels, random_state=0, stratify=labels)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


@pytest.fixture(scope="session")
def digits_npz(digits_arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, **digits_arrays)
    return path


@pytest.fixture(scope="session")
def digits_network(digits_arrays: dict[str, np.ndarray]) -> nn.Module:
    return train_digits_network(digits_arrays["x_train"], digits_arrays["y_train"])


@pytest.fixture(scope="session")
def digits_model(digits_network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "model.pt"
    torch.jit.script(digits_network).save(str(path))
    return path
