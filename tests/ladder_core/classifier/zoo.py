"""The small zoo that the benchmarks share, by name."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from benchmarks.zoo.small import CLASSES, SMALL, LeNet, Mlp
from benchmarks.zoo.ways import Example, export

__all__ = ["CLASSES", "SMALL", "LeNet", "Mlp", "build", "export", "images", "saved", "uploader"]


def build(name: str) -> nn.Module:
    return SMALL[name].model()


def images(name: str, count: int = 4, seed: int = 1) -> Tensor:
    return SMALL[name].images(count, seed)


def saved(name: str, way: str, path: Path) -> Path:
    return export(build(name), images(name), way, path)


def uploader(examples: Mapping[str, Example], folder: Path) -> Callable[[str, str], tuple[nn.Module, Path]]:
    """``upload(name, way)``: a copy of the eager model, and the path of its saved file, made once."""
    made: dict[tuple[str, str], tuple[nn.Module, Path]] = {}

    def upload(name: str, way: str) -> tuple[nn.Module, Path]:
        if (name, way) not in made:
            model = examples[name].model()
            path = export(model, examples[name].images(seed=7), way, folder / f"{name}-{way}.pt")
            made[name, way] = model, path
        model, path = made[name, way]
        return copy.deepcopy(model), path

    return upload
