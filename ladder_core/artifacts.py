"""What a finished run leaves for download: weights, and the archive of examples."""

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ladder_core._torchvision import torchvision
from ladder_core.classifier import Classifier
from ladder_core.thumbnails import to_uint8

_GRID_COLUMNS, _GRID_ROWS = 12, 8
# Zip members get a fixed date: the same run gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ExampleSet:
    """Adversarial examples beside their originals, on the CPU.

    Attributes:
        originals: (n, C, H, W) float32 in [0, 1].
        adversarial: (n, C, H, W) float32 in [0, 1].
        labels: (n,) true classes.
        predicted_original: (n,) original model on the original images.
        predicted_adversarial: (n,) original model on the adversarial images.
        hardened_original: (n,) hardened model on the original images.
        hardened_adversarial: (n,) hardened model on the adversarial images.
        rho: (n,) relative steps; None where the method has none.
        targets: (n,) classes moved towards; None where the attack is untargeted.
    """

    originals: Tensor
    adversarial: Tensor
    labels: Tensor
    predicted_original: Tensor
    predicted_adversarial: Tensor
    hardened_original: Tensor
    hardened_adversarial: Tensor
    rho: Tensor | None = None
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


def concatenate(parts: Sequence[ExampleSet], image_shape: tuple[int, int, int]) -> ExampleSet:
    """Join example sets; of no parts, make the empty set of images of a shape."""
    if not parts:
        images, classes = torch.empty(0, *image_shape), torch.empty(0, dtype=torch.int64)
        return ExampleSet(images, images, classes, classes, classes, classes, classes)
    columns: list[Any] = []
    for column in fields(ExampleSet):
        values = [getattr(part, column.name) for part in parts]
        columns.append(None if values[0] is None else torch.cat(values))
    return ExampleSet(*columns)


def save_weights(model: Classifier, path: Path) -> None:
    """Write the model's weights as safetensors under the upload's own parameter names."""
    # A file may hold one tensor under two names; safetensors wants each to own its memory.
    save_file({name: t.contiguous().clone() for name, t in model.upload_state_dict().items()}, path)


def save_examples(examples: ExampleSet, path: Path) -> None:
    """Write a zip of PNG pairs, an overview, ``index.csv`` and ``examples.npz`` with the exact float images.

    PNGs are rounded to 8 bits, which can undo a narrow attack; the npz holds what was measured.
    """
    with zipfile.ZipFile(path, "w") as archive:
        originals, adversarial = to_uint8(examples.originals), to_uint8(examples.adversarial)
        for number, (clean, attacked) in enumerate(zip(originals, adversarial, strict=True)):
            _write(archive, f"images/{number:05d}-original.png", _png(clean))
            _write(archive, f"images/{number:05d}-adversarial.png", _png(attacked))
        if len(examples):
            _write(archive, "overview.png", _overview(examples))
        _write(archive, "index.csv", _index(examples).encode())
        _write(archive, "examples.npz", _arrays(examples))


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


def _png(pixels: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _overview(examples: ExampleSet) -> bytes:
    """Return a grid of the first pairs, each original above its adversarial image."""
    pairs = zip(
        torch.split(examples.originals, _GRID_COLUMNS),
        torch.split(examples.adversarial, _GRID_COLUMNS),
        strict=True,
    )
    shown = [images for pair in islice(pairs, _GRID_ROWS) for images in pair]
    blank = [torch.ones(_GRID_COLUMNS - len(images), *images.shape[1:]) for images in shown]
    tiles = torch.cat([part for pair in zip(shown, blank, strict=True) for part in pair])
    grid = torchvision.utils.make_grid(tiles, nrow=_GRID_COLUMNS, padding=1, pad_value=1.0)
    return _png(to_uint8(grid[None])[0])


def _columns(examples: ExampleSet) -> dict[str, npt.NDArray[Any]]:
    columns = {
        "label": examples.labels,
        "target": examples.targets,
        "rho": examples.rho,
        "predicted_original": examples.predicted_original,
        "predicted_adversarial": examples.predicted_adversarial,
        "hardened_original": examples.hardened_original,
        "hardened_adversarial": examples.hardened_adversarial,
    }
    return {name: column.numpy() for name, column in columns.items() if column is not None}


def _index(examples: ExampleSet) -> str:
    columns = _columns(examples)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "original", "adversarial", *columns])
    for number in range(len(examples)):
        values = [f"{column[number]:.6g}" for column in columns.values()]
        writer.writerow(
            [number, f"images/{number:05d}-original.png", f"images/{number:05d}-adversarial.png", *values]
        )
    return text.getvalue()


def _arrays(examples: ExampleSet) -> bytes:
    buffer = io.BytesIO()
    images = {"originals": examples.originals.numpy(), "adversarial": examples.adversarial.numpy()}
    np.savez_compressed(buffer, allow_pickle=False, **images, **_columns(examples))
    return buffer.getvalue()
