"""Expected calibration error: Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import full_precision
from ladder_core.datasets import Split
from ladder_schema.report import Calibration, ReliabilityBin

BINS = 15


class CalibrationTally:
    """Samples, correct predictions and summed confidence of each bin, kept on the device until asked for."""

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(2, BINS, dtype=torch.int64, device=device)
        self._confidence = torch.zeros(BINS, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (B, K), labels (B,).

        The confidence is the prediction's softmax probability; bin m holds those above m / 15 and up to
        (m + 1) / 15. Logits that are not finite count as a wrong prediction made with full confidence.
        """
        finite = logits.isfinite().all(dim=1)
        confidence, predictions = logits.double().softmax(dim=1).max(dim=1)
        confidence = torch.where(finite, confidence, 1.0)
        correct = (predictions == labels) & finite
        bins = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        # Sums over a mask, not scattered additions: those of a GPU come in no fixed order.
        members = bins[:, None] == torch.arange(BINS, device=bins.device)
        self._counts += torch.stack([members.sum(dim=0), (members & correct[:, None]).sum(dim=0)])
        self._confidence += (members * confidence[:, None]).sum(dim=0)

    def calibration(self) -> Calibration:
        """Return the error, and the bins it is made of.

        Raises:
            ValueError: Nothing was counted.
        """
        totals, correct = self._counts.tolist()
        confidences = self._confidence.tolist()
        if not sum(totals):
            raise ValueError("no sample was counted")
        gaps = [abs(right - confidence) for right, confidence in zip(correct, confidences, strict=True)]
        bins = tuple(
            ReliabilityBin(total=n, correct=right, confidence=min(1.0, confidence / n) if n else 0.0)
            for n, right, confidence in zip(totals, correct, confidences, strict=True)
        )
        return Calibration(ece=min(1.0, sum(gaps) / sum(totals)), bins=bins)


@torch.no_grad()
def calibration(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Calibration:
    """Return how far a model's confidence is from its accuracy, on a split's own images.

    Args:
        model: Images (B, C, H, W) in [0, 1] to logits (B, K), in evaluation mode.
        split: Held-out images and labels.
        batch_size: Images per forward pass.
        device: Where the model is.
        on_step: Called with the share done; may raise to stop.
    """
    tally = CalibrationTally(device)
    for positions, images, labels in split.batches(batch_size, device):
        with full_precision(device):
            logits = model(images)
        tally.add(logits, labels)
        on_step((int(positions[-1]) + 1) / len(split))
    return tally.calibration()
