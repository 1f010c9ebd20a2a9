"""The latents of a split: computed once, kept in a file, read batch by batch (paper 3.1.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.records import Record, Stored


@dataclass(frozen=True)
class Latents:
    """z of every sample of a split.

    Attributes:
        values: (N, D) float32, memory-mapped.
        confusion: (K, K) mean softmax weight of class j on samples of class i.
    """

    values: npt.NDArray[Any]
    confusion: Tensor

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.values.shape[1])

    def subset(self, positions: npt.ArrayLike) -> "Latents":
        """Return the latents of some samples, in memory."""
        return Latents(self.values[np.asarray(positions)], self.confusion)

    def batch(self, positions: npt.ArrayLike, device: torch.device | str) -> Tensor:
        """Return (B, D) float32 on the device."""
        return torch.from_numpy(self.values[np.asarray(positions)]).to(device)

    def record(self) -> Record:
        """Return what a checkpoint keeps."""
        return Record({"values": torch.from_numpy(self.values), "confusion": self.confusion})

    @classmethod
    def read(cls, stored: Stored, *, samples: int, dimension: int, classes: int) -> "Latents":
        """Take the latents (samples, dimension) of that many classes from a checkpoint, mapped from its file.

        Raises:
            RecordError: The checkpoint has no such latents.
        """
        values = stored.tensor("values", (samples, dimension)).numpy()
        return cls(values, stored.tensor("confusion", (classes, classes)).clone())


@torch.no_grad()
def compute_latents(
    classifier: Classifier,
    split: Split,
    path: Path,
    *,
    classes: int,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Latents:
    """Run the classifier's features over a split and store z, the input of its last linear layer.

    Args:
        classifier: In evaluation mode.
        split: Images to run.
        path: File to store the (N, D) array in.
        classes: Number of classes K.
        batch_size: Images per forward pass.
        device: Where the classifier is.
        on_step: Called with the share done; may raise to stop.
    """
    values: npt.NDArray[Any] | None = None
    confusion = torch.zeros(classes, classes, device=device)
    for positions, images, labels in split.batches(batch_size, device):
        z = classifier.features(images)
        if values is None:
            values = np.lib.format.open_memmap(
                path, mode="w+", dtype=np.float32, shape=(len(split), z.shape[1])
            )
        values[positions] = z.float().cpu().numpy()
        confusion.index_add_(0, labels, classifier.head(z).softmax(dim=1).float())
        on_step((int(positions[-1]) + 1) / len(split))
    if values is None:
        raise ValueError("an empty split has no latents")
    counts = torch.from_numpy(np.bincount(split.targets(), minlength=classes)).clamp_min(1)
    return Latents(values, (confusion / counts[:, None].to(device)).cpu())
