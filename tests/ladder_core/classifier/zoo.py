"""The small zoo that the benchmarks share, by name."""

from pathlib import Path

from torch import Tensor, nn

from benchmarks.zoo.small import CLASSES, SMALL, LeNet, Mlp
from benchmarks.zoo.ways import export

__all__ = ["CLASSES", "SMALL", "LeNet", "Mlp", "build", "export", "images", "saved"]


def build(name: str) -> nn.Module:
    return SMALL[name].model()


def images(name: str, count: int = 4, seed: int = 1) -> Tensor:
    return SMALL[name].images(count, seed)


def saved(name: str, way: str, path: Path) -> Path:
    return export(build(name), images(name), way, path)
