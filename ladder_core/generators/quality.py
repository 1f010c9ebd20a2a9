"""How faithful a generator is: reconstruction error, and what the classifier says of reconstructions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ladder_core.classifier import Classifier
from ladder_core.counting import Tally
from ladder_core.datasets import Split
from ladder_schema.report import Accuracy


@dataclass(frozen=True)
class Fidelity:
    """Mean squared error per pixel of [0, 1], and the classifier's accuracy on reconstructions."""

    mse: float
    accuracy: Accuracy


@torch.no_grad()
def measure_fidelity(
    generator: nn.Module,
    classifier: Classifier,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> Fidelity:
    """Reconstruct every image of a split from its own latent and compare.

    Args:
        generator: In evaluation mode.
        classifier: Whose latents the generator was trained on, in evaluation mode.
        split: Images to reconstruct.
        batch_size: Images at a time.
        device: Where both are.
        on_step: Called with the share done; may raise to stop.
    """
    squares = torch.zeros((), dtype=torch.float64, device=device)
    values = 0
    tally = Tally(device)
    for _, images, labels in split.batches(batch_size, device):
        reconstructions = generator(classifier.features(images))
        squares += (reconstructions - images).square().sum(dtype=torch.float64)
        values += images.numel()
        tally.add(classifier(reconstructions).argmax(dim=1) == labels)
        on_step(tally.total / len(split))
    return Fidelity(float(squares) / values, tally.accuracy())
