"""The latents that boundaries are fitted on and judged by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

HELD_OUT_SHARE = 0.33


@dataclass(frozen=True)
class Pool:
    """Latents to fit and judge boundaries on, n at most of each class.

    Attributes:
        samples: (K, n, D), divided by the scale; rows that do not exist are zero.
        exists: (K, n) bool.
        held_out: (K, n) bool: not to be fitted on.
        scale: The root mean square of the latents.
    """

    samples: Tensor
    exists: Tensor
    held_out: Tensor
    scale: float

    def of_pair(self, pair: list[int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return a pair's samples (m, D), sides (m,) of -1 and +1, and which are held out (m,), for NumPy."""
        exists = self.exists[pair].cpu().numpy()
        sides = np.repeat([-1, 1], exists.sum(axis=1))
        return self.samples[pair].cpu().numpy()[exists], sides, self.held_out[pair].cpu().numpy()[exists]


def pool_latents(latents: Tensor, labels: Tensor, classes: int) -> Pool:
    """Sort latents by class, and hold out the first third of each class.

    Args:
        latents: (n, D) float32 in random order, on the device to train on.
        labels: (n,) int64 on the same device.
        classes: Number of classes K.
    """
    scale = max(latents.square().mean().sqrt().item(), 1e-12)
    size = int(torch.bincount(labels, minlength=classes).max())
    samples = latents.new_zeros(classes, size, latents.shape[1])
    exists = torch.zeros(classes, size, dtype=torch.bool)
    held_out = torch.zeros(classes, size, dtype=torch.bool)
    for label in range(classes):
        members = torch.nonzero(labels == label).squeeze(1)
        samples[label, : len(members)] = latents[members] / scale
        exists[label, : len(members)] = True
        held_out[label, : round(HELD_OUT_SHARE * len(members))] = True
    return Pool(samples, exists.to(latents.device), held_out.to(latents.device), scale)
