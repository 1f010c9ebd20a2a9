"""Both models on the images as they are, the whole test split."""

import torch
from torch import Tensor

from ladder_core.attacks.base import full_precision, predicted_classes
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects


def measure_clean(subjects: Subjects, ledger: Ledger) -> Tensor:
    """Return what both models take each test image for: (N, 2), -1 where they name none."""

    def measure(start: int, end: int) -> Columns:
        images, _ = subjects.test.batch(range(start, end), subjects.device)
        return {"predicted": torch.stack([predict(m, images) for m in subjects.models], dim=1).cpu()}

    return ledger.columns(
        "clean",
        len(subjects.test),
        {"predicted": Column(torch.int64)},
        measure,
        batch_size=subjects.batch_size,
    )["predicted"]


@torch.no_grad()
def predict(model: torch.nn.Module, images: Tensor) -> Tensor:
    """Return the classes (B,) of images (B, C, H, W), in full precision; -1 where it names none."""
    with full_precision(images.device):
        logits = model(images)
    return predicted_classes(logits)
