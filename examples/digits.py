"""Train a classifier of handwritten digits the way anybody would, and save what the service takes.

python examples/digits.py DIRECTORY
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

EPOCHS = 15
BATCH_SIZE = 64


class DigitClassifier(nn.Module):
    """Two convolutions and two linear layers, for 8 x 8 images of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = functional.relu(self.conv1(images))
        maps = functional.max_pool2d(functional.relu(self.conv2(maps)), 2)
        return self.head(functional.relu(self.hidden(maps.flatten(1))))


def load_split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's bundled digits in [0, 1]: training images, test images, their labels."""
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    return tuple(train_test_split(pixels, labels, test_size=0.25, stratify=labels, random_state=0))


def train(x_train: np.ndarray, y_train: np.ndarray) -> DigitClassifier:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # for images this small, threads cost more than they bring
    model = DigitClassifier()
    images, labels = torch.from_numpy(x_train)[:, None], torch.from_numpy(y_train)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def make(directory: Path) -> tuple[Path, Path]:
    """Write the model as TorchScript and the dataset as npz; return their paths."""
    x_train, x_test, y_train, y_test = load_split()
    model = train(x_train, y_train)
    directory.mkdir(parents=True, exist_ok=True)
    model_path, dataset_path = directory / "digits.pt", directory / "digits.npz"
    torch.jit.trace(model, torch.zeros(1, 1, 8, 8)).save(str(model_path))
    np.savez_compressed(dataset_path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return model_path, dataset_path


if __name__ == "__main__":
    for path in make(Path(sys.argv[1])):
        print(path)
