"""What an iterative attack keeps of each sample still under attack; samples that are done leave it."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

# Asking which samples are done waits for a GPU, so it is not asked at every iteration.
_ITERATIONS_BETWEEN_CHECKS = 5


@dataclass(frozen=True)
class Samples:
    """Tensors (n, ...) of the same n samples; subclasses name them.

    Attributes:
        rows: (n,) int64, the samples' places in the attacked batch.
    """

    rows: Tensor

    def of(self, kept: Tensor) -> Self:
        """Return some of the samples, by mask (n,) or by number."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[kept] for name, value in values.items() if value is not None})

    def __len__(self) -> int:
        """Return n."""
        return len(self.rows)


def check_is_due(iteration: int, device: torch.device) -> bool:
    """Tell whether to ask after this iteration which samples are done: free on a CPU, a wait elsewhere."""
    every = 1 if device.type == "cpu" else _ITERATIONS_BETWEEN_CHECKS
    return iteration % every == every - 1


def all_rows(images: Tensor) -> Tensor:
    """Return (B,) int64, the place of every image."""
    return torch.arange(len(images), device=images.device)
