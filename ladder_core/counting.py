"""Counting verdicts without waiting for the device at every batch."""

import torch
from torch import Tensor

from ladder_schema.report import Accuracy


class Tally:
    """Correct and total counts, kept on the device until they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._total = 0

    @property
    def total(self) -> int:
        """How many verdicts were counted."""
        return self._total

    def add(self, correct: Tensor) -> None:
        """Count a batch of verdicts (B,) bool."""
        self._correct += correct.sum()
        self._total += correct.numel()

    def accuracy(self) -> Accuracy:
        """Return the counts.

        Raises:
            ValueError: Nothing was counted.
        """
        if not self._total:
            raise ValueError("no verdict was counted")
        return Accuracy(correct=int(self._correct), total=self._total)
