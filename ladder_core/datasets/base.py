"""A labelled set of images that is read batch by batch: it may be larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ladder_core.errors import DatasetError
from ladder_schema.errors import ErrorCode

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images and labels of one split, as views into arrays that may lie on disk.

    Attributes:
        images: (M, C, H, W) uint8, or floating-point pixels in any byte order; often memory-mapped.
        labels: (M,) int64 class indices.
        indices: (N,) rows of the arrays that belong to this split.
        scale: What a stored value is multiplied by to give a pixel in [0, 1].
    """

    images: npt.NDArray[Any]
    labels: Indices
    indices: Indices
    scale: float

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def targets(self) -> Indices:
        """Return the (N,) labels of the whole split, which always fit in memory."""
        return self.labels[self.indices]

    def batch(self, positions: npt.ArrayLike, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W) float32 in [0, 1] and labels (B,) int64 at positions of this split."""
        rows = self.indices[np.asarray(positions)]
        order = np.argsort(rows, kind="stable")  # a file is read forwards
        # PyTorch takes the machine's own byte order only.
        images = np.empty((len(rows), *self.image_shape), dtype=self.images.dtype.newbyteorder("="))
        images[order] = self.images[rows[order]]
        pixels = torch.from_numpy(images).to(device).to(torch.float32)
        if self.scale != 1.0:
            pixels.mul_(self.scale)
        return pixels, torch.from_numpy(self.labels[rows]).to(device)

    def batches(
        self, batch_size: int, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[Indices, Tensor, Tensor]]:
        """Yield (positions, images, labels) over the split in its own order."""
        for start in range(0, len(self), batch_size):
            positions = np.arange(start, min(start + batch_size, len(self)))
            yield positions, *self.batch(positions, device)

    def subset(self, positions: npt.ArrayLike) -> "Split":
        """Return the part of the split at the given positions."""
        return Split(self.images, self.labels, self.indices[np.asarray(positions)], self.scale)

    def stratified(self, count: int | None, rng: np.random.Generator) -> "Split":
        """Return at most ``count`` samples (None for all), each class in proportion."""
        return self if count is None else self.subset(self.stratified_positions(count, rng))

    def stratified_positions(self, count: int, rng: np.random.Generator) -> Indices:
        """Return the sorted positions of at most ``count`` samples, each class in proportion."""
        if count >= len(self):
            return np.arange(len(self))
        order = rng.permutation(len(self))
        labels = self.targets()[order]
        # The r-th member of a class of size n goes to quantile (r + 1/2) / n: taking the smallest quantiles
        # takes every class at the same rate.
        quantiles = np.empty(len(self))
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            quantiles[members] = (np.arange(len(members)) + 0.5) / len(members)
        chosen: Indices = np.sort(order[np.argsort(quantiles, kind="stable")[:count]])
        return chosen


@dataclass(frozen=True)
class BadImages:
    """Images that could not be used and were left out.

    Attributes:
        count: How many.
        examples: The first of them, each with its name and what is wrong with it.
    """

    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A training and a test split over the same classes.

    Attributes:
        train: What the method may learn from.
        test: What the report's figures are measured on; never trained on.
        class_names: Names given by the upload; empty when it has none.
        notes: What was decided while reading, for the report.
        format: How the upload was laid out, in words.
        bad_images: What was left out.
        test_given: Whether the upload said which images are for testing; else some were held out.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: str = "npz"
    bad_images: BadImages = BadImages()
    test_given: bool = True


def split_stratified(whole: Split, test_share: float, seed: int) -> tuple[Split, Split]:
    """Split into train and test with every class in proportion.

    Raises:
        DatasetError: A class has fewer than two samples, so that it cannot be in both.
    """
    labels = whole.targets()
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise DatasetError(
            ErrorCode.DATASET_TOO_SMALL,
            f"class {classes[counts.argmin()]} has {counts.min()} image and there is no test split: give at "
            "least 2 images of every class, or give a test split",
        )
    share = max(round(test_share * len(whole)), len(classes))
    train, test = train_test_split(np.arange(len(whole)), test_size=share, random_state=seed, stratify=labels)
    return whole.subset(np.sort(train)), whole.subset(np.sort(test))
