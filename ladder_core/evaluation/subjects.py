"""What an evaluation is of: both models, the images, the threat model."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ladder_core.classifier import Classifier
from ladder_core.datasets import Split
from ladder_core.datasets.base import Indices
from ladder_core.seeding import numpy_stream, torch_stream
from ladder_schema.config import EvaluationConfig, ThreatModel


@dataclass(frozen=True)
class Subjects:
    """Both models, and what they are measured on.

    Attributes:
        original: The model as uploaded, in evaluation mode.
        hardened: The model after retraining, in evaluation mode.
        train: What both learned from.
        test: The whole test split.
        test_given: Whether the upload said which images are for testing.
        classes: K.
        threat_model: The adversary's.
        config: Bounds of the evaluation.
        seed: The job's seed.
        device: Where both models are.
        batch_size: Images attacked together.
    """

    original: Classifier
    hardened: Classifier
    train: Split
    test: Split
    test_given: bool
    classes: int
    threat_model: ThreatModel
    config: EvaluationConfig
    seed: int
    device: torch.device
    batch_size: int

    @property
    def models(self) -> tuple[Classifier, Classifier]:
        """Return the original and the hardened model."""
        return self.original, self.hardened

    def choose(self, count: int | None) -> Indices:
        """Return the sorted positions of that many test images, never more than ``max_samples``.

        Each class in proportion; a smaller choice lies within every larger one.
        """
        most = self.config.max_samples if count is None else min(count, self.config.max_samples or count)
        if most is None:
            return np.arange(len(self.test))
        return self.test.stratified_positions(most, numpy_stream(self.seed, "evaluate"))

    def labels(self, positions: Indices) -> Tensor:
        """Return the labels (n,) of test images, on the CPU."""
        return torch.from_numpy(self.test.targets()[positions])

    def within(self, linf: Tensor, l2: Tensor) -> Tensor:
        """Tell which distances (n,) lie within the threat model, up to rounding."""
        distance = linf if self.threat_model.norm == "linf" else l2
        return distance <= self.threat_model.epsilon * (1 + 1e-5)

    def stream(self, purpose: str, skipped: int) -> torch.Generator:
        """Return a stream from which attacks draw a key a sample, beyond those of the samples skipped.

        The same for both models, however the samples are split into batches.
        """
        stream = torch_stream(self.seed, purpose)
        torch.empty(skipped, dtype=torch.int64).random_(generator=stream)
        return stream
