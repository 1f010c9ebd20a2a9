"""The networks that are attacked, trained once and kept in the work directory.

For each of MNIST and CIFAR-10 one trained as usual, which every attack breaks, and one trained adversarially
(Madry et al. 2018), which holds at small radii: there the time goes.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ladder_core.attacks import pgd_last_iterate


class LeNet(nn.Module):
    """LADDER's LeNet for MNIST: log-probabilities, which attacks may take for logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return functional.log_softmax(self.features((images - 0.1307) / 0.3081), dim=1)


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return functional.relu(self.layers(images) + self.shortcut(images))


class ResNet8(nn.Module):
    """A CIFAR ResNet of 8 layers, 16 to 64 channels, 78,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers((images - 0.4734) / 0.2516)
        return logits


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; epsilon 0 is training as usual."""

    dataset: str
    build: Callable[[], nn.Module]
    epochs: int
    rate: float
    epsilon: float = 0.0
    steps: int = 0
    begins: str | None = None
    """The network whose weights it starts from."""

    def example(self, network: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Tensor:
        """What is trained on; the radius grows during the first fifth, or a network may never start."""
        if not self.steps:
            return images
        epsilon = self.epsilon * min(1.0, 5 * progress)
        step = max(1.25 / self.steps, 0.3) * epsilon
        stream = torch.Generator().manual_seed(int(1e6 * progress))
        return pgd_last_iterate(
            network, images, labels, epsilon=epsilon, steps=self.steps, step=step, generator=stream
        )


RECIPES = {
    "lenet": Recipe("mnist", LeNet, epochs=3, rate=2e-3),
    "lenet-adversarial": Recipe("mnist", LeNet, epochs=3, rate=2e-3, epsilon=0.3, steps=4, begins="lenet"),
    "resnet": Recipe("cifar10", ResNet8, epochs=10, rate=1e-2),
    "resnet-adversarial": Recipe(
        "cifar10", ResNet8, epochs=3, rate=4e-3, epsilon=4 / 255, steps=1, begins="resnet"
    ),
}


@dataclass(frozen=True)
class Images:
    """A data set as tensors: images float32 in [0, 1], labels int64."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_network(name: str, paths: dict[str, Path], work: Path) -> nn.Module:
    """The network of a recipe in evaluation mode, from the work directory or trained now."""
    recipe, kept = RECIPES[name], work / f"{name}.pt"
    network = recipe.build()
    if not kept.exists():
        if recipe.begins:
            network.load_state_dict(load_network(recipe.begins, paths, work).state_dict())
        print(f"training {name}", flush=True)
        train(network, recipe, load_images(recipe.dataset, paths[recipe.dataset], work))
        unfinished = kept.with_suffix(".part")
        torch.save(network.state_dict(), unfinished)
        unfinished.replace(kept)
    network.load_state_dict(torch.load(kept, weights_only=True))
    return network.eval().requires_grad_(requires_grad=False)


def train(network: nn.Module, recipe: Recipe, data: Images) -> None:
    """Adam with a one-cycle rate (Smith 2018); images of CIFAR-10 are shifted and mirrored."""
    images, labels = data.train
    images = images.to(memory_format=torch.channels_last)  # up to twice as fast on a CPU
    torch.manual_seed(0)
    stream = np.random.default_rng(0)
    batches = len(images) // 128
    optimiser = torch.optim.Adam(network.parameters(), recipe.rate, weight_decay=1e-5)
    total = recipe.epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=total)
    network.train()
    for epoch in range(recipe.epochs):
        order = torch.from_numpy(stream.permutation(len(images)))
        for number, batch in enumerate(order[: batches * 128].split(128)):
            clean = images[batch] if recipe.dataset == "mnist" else augmented(images[batch], stream)
            progress = (epoch * batches + number) / total
            optimiser.zero_grad()
            examples = recipe.example(network, clean, labels[batch], progress)
            functional.cross_entropy(network(examples), labels[batch]).backward()
            optimiser.step()
            schedule.step()
        print(f"  epoch {epoch + 1}: {accuracy(network, *data.test):.1%}", flush=True)


def augmented(images: Tensor, stream: np.random.Generator) -> Tensor:
    padded = functional.pad(images, (4, 4, 4, 4))
    rows, columns = stream.integers(0, 9, 2)
    shifted = padded[:, :, rows : rows + 32, columns : columns + 32]
    mirrored = torch.from_numpy(stream.random(len(images)) < 0.5)
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    right = sum(
        int((network(x).argmax(1) == y).sum())
        for x, y in zip(images.split(500), labels.split(500), strict=True)
    )
    network.train()
    return right / len(images)


def load_images(dataset: str, path: Path, work: Path) -> Images:
    """Read ``mnist.npz``, or the image folders ``cifar10.zip``, whose decoded pixels are kept."""
    if dataset == "cifar10":
        path = decoded(path, work / "cifar10.npz")
    with np.load(path) as arrays:
        parts = [(as_tensor(arrays[f"x_{part}"]), arrays[f"y_{part}"]) for part in ("train", "test")]
    train, test = ((images, torch.from_numpy(labels.astype(np.int64))) for images, labels in parts)
    return Images(train, test)


def as_tensor(pixels: np.ndarray) -> Tensor:
    images = torch.from_numpy(pixels).float().div_(255)
    return images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2).contiguous()


def decoded(archive: Path, kept: Path) -> Path:
    """Decode ``part/class/name.jpg``; test images are shuffled, so that any first few are of all classes."""
    if kept.exists():
        return kept
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(archive) as folder:
        names = sorted(name for name in folder.namelist() if name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        for part in ("train", "test"):
            of_part = [name for name in names if name.startswith(f"{part}/")]
            np.random.default_rng(0).shuffle(of_part)
            pixels = [np.asarray(Image.open(io.BytesIO(folder.read(name)))) for name in of_part]
            arrays[f"x_{part}"] = np.stack(pixels)
            arrays[f"y_{part}"] = np.array([classes.index(name.split("/")[1]) for name in of_part], np.uint8)
    unfinished = kept.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(kept)
    return kept
