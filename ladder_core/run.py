"""What the stages of one run share, and what a method hands back."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ladder_core.artifacts import ExampleSet
from ladder_core.checkpoints import Keeper
from ladder_core.classifier import Classifier
from ladder_core.datasets import Dataset
from ladder_core.progress import Progress
from ladder_schema.report import (
    BoundarySummary,
    Check,
    EpochLosses,
    ExampleSummary,
    GeneratorSummary,
    Measurements,
    Pictures,
)


@dataclass(frozen=True)
class Run:
    """A validated model and dataset, and where and how to work on them.

    Attributes:
        original: The model as uploaded, in evaluation mode, never changed.
        dataset: Its data.
        work_dir: Takes intermediate files and results.
        device: Where the original is.
        seed: The job's seed.
        batch_size: Images at a time wherever nothing is trained.
        progress: Told where the run stands.
        keeper: Keeps stage outputs and trainings for another attempt.
    """

    original: Classifier
    dataset: Dataset
    work_dir: Path
    device: torch.device
    seed: int
    batch_size: int
    progress: Progress
    keeper: Keeper


@dataclass(frozen=True)
class Outcome:
    """What a method made of a run.

    Attributes:
        hardened: The hardened model, in evaluation mode.
        losses: Of each retraining epoch.
        measurements: Before and after, on the same images.
        checks: Whether the measurements can be trusted.
        examples: Adversarial examples on test images.
        pictures: For the report.
    """

    hardened: Classifier
    losses: tuple[EpochLosses, ...]
    measurements: Measurements
    checks: tuple[Check, ...]
    examples: ExampleSet
    boundary: BoundarySummary | None = field(default=None, kw_only=True)
    generator: GeneratorSummary | None = field(default=None, kw_only=True)
    ladder: ExampleSummary | None = field(default=None, kw_only=True)
    pictures: Pictures = field(default=Pictures(), kw_only=True)
