"""Both models on the images as they are, the whole test split."""

import torch
from torch import Tensor

from ladder_core.attacks.base import full_precision
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects

NO_CLASS = -1
"""The prediction of a model whose logits are not finite."""


def measure_clean(subjects: Subjects, ledger: Ledger) -> Tensor:
    """Return what both models take each test image for: (N, 2), `NO_CLASS` where they do not say."""

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
    """Return the classes (B,) of images (B, C, H, W), in full precision; `NO_CLASS` of logits not finite."""
    with full_precision(images.device):
        logits = model(images)
    return torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), NO_CLASS)
