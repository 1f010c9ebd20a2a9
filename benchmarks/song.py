"""Song et al.'s unrestricted adversarial examples on MNIST: whom they fool, and who still knows the digit.

python -m benchmarks.song --mnist mnist.npz --work DIRECTORY [--count 200] [--only ROW]

Trains, once, the paper's LeNet, two judges that neither the search nor the GAN ever sees, and the AC-GAN,
and keeps them in the work directory; the GAN's training goes on where it was killed. Then attacks the
LeNet. The first judge is of another kind, a support vector machine on pixels, which does not share the
blind spots of convolutional networks; the second is a convolutional network of another architecture and
seed, which what is made to fool one fools in part as well (Szegedy et al. 2014). Exits with 1 where the
first row has fewer than 80% of examples that fool the LeNet while the first judge still says the class they
were made for.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.svm import SVC
from torch import Tensor, nn
from torch.nn import functional

from ladder_core.attacks.inversion import invert
from ladder_core.attacks.song import SongResult, SongSettings, song
from ladder_core.checkpoints import Checkpoints, Keeper
from ladder_core.datasets import Split
from ladder_core.generators.acgan import AcGan, AcGanSettings
from ladder_core.generators.acgan_training import begin_acgan_training, train_acgan
from ladder_core.progress import Progress
from ladder_schema.jobs import Stage
from ladder_schema.protocol import CheckpointName

CPU = torch.device("cpu")
CLASSES, IMAGE_SHAPE, BATCH = 10, (1, 28, 28), 128
MIN_BOTH = 0.80
KEPT_EVERY_SECONDS = 60.0
GRID = (10, 12)
COLUMNS = (
    "search",
    "right before it: LeNet / judges",
    "fools LeNet",
    "and auxiliary says the class",
    "judges say the class",
    "fools LeNet and judge says the class",
    "median model passes",
    "CPU s per 100",
)


class LeNet(nn.Module):
    """LADDER's LeNet for MNIST, which is attacked: log-probabilities, which attacks may take for logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return functional.log_softmax(self.features((images - 0.1307) / 0.3081), dim=1)


class SupportVectors:
    """The first judge: an RBF support vector machine on pixels, fitted to some training images."""

    def __init__(self, split: Split, samples: int = 10_000) -> None:
        images, labels = split.batch(np.random.default_rng(0).permutation(len(split))[:samples])
        self.machine = SVC(C=5.0, gamma=0.025).fit(images.flatten(1).numpy(), labels.numpy())

    def __call__(self, images: Tensor) -> Tensor:
        """Predict classes (B,)."""
        return torch.from_numpy(self.machine.predict(images.flatten(1).numpy()))


class Convolutional(nn.Module):
    """The second judge: 3x3 convolutions with batch norm, an average pool, trained on shifted images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(576, 10),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def load_split(path: Path, name: str) -> Split:
    """MNIST's training or test split."""
    with np.load(path) as arrays:
        images, labels = arrays[f"x_{name}"][:, None], arrays[f"y_{name}"].astype(np.int64)
    return Split(images, labels, np.arange(len(images)), 1 / 255)


def load_network(network: nn.Module, path: Path, split: Split, *, seed: int, epochs: int, shift: int) -> None:
    """Take a network's weights from the work directory, or train them: Adam, one-cycle (Smith 2018)."""
    if not path.exists():
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        stream = np.random.default_rng(seed)
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        steps = epochs * (len(split) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
        for _ in range(steps):
            images, labels = split.batch(stream.integers(len(split), size=BATCH))
            if shift:
                rows, columns = stream.integers(-shift, shift + 1, size=2)
                images = images.roll((int(rows), int(columns)), dims=(2, 3))
            optimiser.zero_grad()
            functional.cross_entropy(network(images), labels).backward()
            optimiser.step()
            schedule.step()
        torch.save(network.state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval().requires_grad_(requires_grad=False)


def load_gan(settings: AcGanSettings, work: Path, split: Split) -> tuple[AcGan, float]:
    """Train the GAN from where the work directory has it; returns it, and the seconds over all attempts."""
    progress = Progress({Stage.GENERATOR: 1.0}, lambda *_: True)
    progress.enter(Stage.GENERATOR)
    keeper = Keeper(Checkpoints(work, work, KEPT_EVERY_SECONDS, lambda _: None), repr(settings), progress)
    training = begin_acgan_training(IMAGE_SHAPE, CLASSES, settings, seed=0, device=CPU)
    name = CheckpointName.GENERATOR
    complete = keeper.find(name, training.load)
    on_step = keeper.watch(name, training.record, progress.update)
    gan = train_acgan(training, split, seed=0, on_step=lambda share: on_step(share, ""))
    if not complete:
        keeper.save(name, training.record(), complete=True)
    return gan, progress.seconds


Predict = Callable[[Tensor], Tensor]
"""From images (B, 1, 28, 28) to classes (B,)."""


def predicts(logits: Callable[[Tensor], Tensor]) -> Predict:
    return lambda images: logits(images).argmax(dim=1)


@torch.no_grad()
def accuracy(predict: Predict, split: Split) -> float:
    right = sum(int((predict(images) == labels).sum()) for _, images, labels in split.batches(500))
    return right / len(split)


@dataclass(frozen=True)
class Row:
    """One way to search: its settings, whether it begins near test images, whether it is targeted."""

    settings: SongSettings
    near: bool = False
    targeted: bool = False


RELEASED = SongSettings.released()
ROWS = {
    "ours": Row(SongSettings()),
    "ours, targeted": Row(SongSettings(), targeted=True),
    "ours, near test images": Row(SongSettings(), near=True),
    "released code's": Row(RELEASED),
    "released code's, noise 0.1": Row(replace(RELEASED, noise_epsilon=0.1)),
}


def attack(row: Row, lenet: nn.Module, gan: AcGan, test: Split, count: int) -> tuple[SongResult, float]:
    """Make examples of every class in turn; returns them and the seconds."""
    stream = torch.Generator().manual_seed(0)
    images, labels = test.batch(np.random.default_rng(0).permutation(len(test))[:count])
    if not row.near:
        labels = torch.arange(count) % CLASSES
    targets = (labels + 1 + torch.arange(count) // CLASSES % (CLASSES - 1)) % CLASSES
    began = time.process_time()
    references = invert(gan, images, labels, generator=stream) if row.near else None
    result = song(
        lenet, gan, labels, settings=row.settings, generator=stream,
        targets=targets if row.targeted else None, references=references,
    )  # fmt: skip
    return result, time.process_time() - began


@torch.no_grad()
def shares(result: SongResult, gan: AcGan, lenet: Predict, judges: list[Predict]) -> list[str]:
    """The row's figures but the first and last, as `COLUMNS` has them."""

    def share(which: Tensor) -> str:
        return f"{which.double().mean().item():.1%}"

    began = gan.generate(result.references, result.labels)
    known = [judge(result.images) == result.labels for judge in judges]
    return [
        " / ".join(share(predict(began) == result.labels) for predict in [lenet, *judges]),
        share(result.fooled),
        share(result.success),
        " / ".join(share(some) for some in known),
        " / ".join(share(some & result.fooled) for some in known),
        str(int(result.queries.median())),
    ]


def save_grid(result: SongResult, path: Path) -> None:
    """A picture: a row for each class, its first examples side by side."""
    rows, columns = GRID
    tiles = torch.zeros(rows, columns, 28, 28)
    for label in range(rows):
        some = result.images[result.labels == label][:columns, 0]
        tiles[label, : len(some)] = some
    pixels = tiles.permute(0, 2, 1, 3).reshape(rows * 28, columns * 28)
    Image.fromarray((pixels * 255).round().byte().numpy()).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True, help="mnist.npz")
    parser.add_argument("--work", type=Path, required=True, help="keeps the networks and the pictures")
    parser.add_argument("--count", type=int, default=200, help="examples a row")
    parser.add_argument("--only", choices=ROWS, help="one row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    train, test = load_split(arguments.mnist, "train"), load_split(arguments.mnist, "test")
    lenet, convolutional = LeNet(), Convolutional()
    load_network(lenet, work / "lenet.pt", train, seed=0, epochs=3, shift=0)
    load_network(convolutional, work / "independent.pt", train, seed=1, epochs=3, shift=2)
    judges: list[Predict] = [SupportVectors(train), predicts(convolutional)]
    settings = AcGanSettings()
    gan, seconds = load_gan(settings, work, train)
    right = [f"{accuracy(p, test):.2%}" for p in (predicts(lenet), predicts(gan.classify), judges[1])]
    of_machine = accuracy(judges[0], test.subset(np.arange(2000)))
    print(
        f"Right about MNIST's test images: LeNet {right[0]}, auxiliary classifier {right[1]}, judges "
        f"{of_machine:.1%} (of the first 2,000) / {right[2]}. {settings.rounds} rounds of the AC-GAN took "
        f"{seconds:.0f} s. {arguments.count} examples a row.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    for name in [arguments.only] if arguments.only else ROWS:
        result, taken = attack(ROWS[name], lenet, gan, test, arguments.count)
        found = shares(result, gan, predicts(lenet), judges)
        print(f"| {name} | {' | '.join(found)} | {100 * taken / arguments.count:.1f} |", flush=True)
        save_grid(result, work / f"{name.replace(' ', '-').replace(',', '')}.png")
        both = (judges[0](result.images) == result.labels) & result.fooled
        if name == next(iter(ROWS)) and both.double().mean() < MIN_BOTH:
            raise SystemExit(f"fewer than {MIN_BOTH:.0%} fool LeNet while the first judge says the class")


if __name__ == "__main__":
    main()
