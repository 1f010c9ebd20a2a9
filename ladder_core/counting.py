"""Counting verdicts without waiting for the device at every batch."""

import torch
from torch import Tensor

from ladder_schema.report import Accuracy, Paired


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


class PairedTally:
    """Counts of what two models are right about, the same samples for both; kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._total = 0

    @property
    def total(self) -> int:
        """How many samples were counted."""
        return self._total

    def add(self, before: Tensor, after: Tensor) -> None:
        """Count a batch: whether the original (B,) and the hardened model (B,) are right about each."""
        self._counts += torch.stack(
            [
                (before & after).sum(),
                (before & ~after).sum(),
                (~before & after).sum(),
                (~(before | after)).sum(),
            ]
        )
        self._total += before.numel()

    def paired(self) -> Paired:
        """Return the counts.

        Raises:
            ValueError: Nothing was counted.
        """
        if not self._total:
            raise ValueError("no sample was counted")
        both, only_before, only_after, neither = self._counts.tolist()
        return Paired(both=both, only_before=only_before, only_after=only_after, neither=neither)


def paired(right: Tensor) -> Paired:
    """Count what the original (column 0) and the hardened model (column 1) are right about: (n, 2) bool.

    Raises:
        pydantic.ValidationError: There is no sample.
    """
    before, after = right.unbind(dim=1)
    both, only_before = int((before & after).sum()), int((before & ~after).sum())
    only_after = int((~before & after).sum())
    neither = len(right) - both - only_before - only_after
    return Paired(both=both, only_before=only_before, only_after=only_after, neither=neither)
