"""Both models are asked the same questions about the same few images."""

import math
from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from ladder_core.attacks import Norm, fgsm
from ladder_core.attacks.apgd import apgd
from ladder_core.attacks.base import full_precision, succeeded
from ladder_core.attacks.pgd import Ascent, step_size
from ladder_core.attacks.square import square
from ladder_core.attacks.streams import SampleStreams
from ladder_core.checks.probes import POINTS, ContestTally, GradientTally, LossTally, climb, probe_repeats
from ladder_core.checks.values import Probes, Repeats, Unbounded
from ladder_core.datasets import Split
from ladder_core.seeding import torch_stream
from ladder_schema.config import ThreatModel

APGD_ITERATIONS = 50


def probe_models(
    models: tuple[nn.Module, nn.Module],
    split: Split,
    threat: ThreatModel,
    *,
    square_iterations: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[float], None],
) -> tuple[Probes, Probes]:
    """Probe the original and the hardened model.

    Args:
        models: In evaluation mode.
        split: The few images to ask about.
        threat: What the attacks may do.
        square_iterations: Windows that Square tries.
        batch_size: Images at a time.
        seed: The job's seed.
        device: Where the models are.
        on_step: Called with the share done; may raise to stop.
    """
    subjects = [_Subject(model, threat, square_iterations, device) for model in models]
    stream, done = torch_stream(seed, "checks"), 0
    for _, images, labels in split.batches(batch_size, device):
        streams = SampleStreams.begin(stream, len(images), device)
        attacked = []
        for number, subject in enumerate(subjects):
            on_step((done + number * len(images) / 2) / len(split))
            attacked.append(subject.attack(images, labels, streams))
        for subject, others in zip(subjects, reversed(attacked), strict=True):
            subject.replay(others, labels)
        done += len(images)
    images, _ = split.batch(np.arange(min(batch_size, len(split))), device)
    repeats = [probe_repeats(model, images) for model in models]
    on_step(1.0)
    chance = np.bincount(split.targets()).max() / len(split)
    first, second = (s.result(r, float(chance)) for s, r in zip(subjects, repeats, strict=True))
    return first, second


class _Ball(TypedDict):
    epsilon: float
    norm: Norm


class _Subject:
    """A model, and what its answers add up to."""

    def __init__(
        self, model: nn.Module, threat: ThreatModel, square_iterations: int, device: torch.device
    ) -> None:
        self._model, self._norm, self._epsilon = model, threat.norm, threat.epsilon
        self._square_iterations = square_iterations
        self._gradients, self._losses = GradientTally(device), LossTally(device)
        self._one_step = ContestTally("FGSM", "PGD", device)
        self._transfer = ContestTally("Transfer from the other model", "PGD and APGD", device)
        self._square = ContestTally("Square", "PGD and APGD", device)
        self._unbounded = ContestTally("PGD without a bound", "nothing", device)
        self._correct = self._broken = torch.zeros(0, dtype=torch.bool, device=device)

    def attack(self, images: Tensor, labels: Tensor, streams: SampleStreams) -> Tensor:
        """Attack a batch in every way but one; return the images to replay on the other model."""
        model, norm, epsilon = self._model, self._norm, self._epsilon
        ball: _Ball = {"epsilon": epsilon, "norm": norm}
        self._gradients.add(model, images, labels)
        bounded = climb(model, images, labels, _ascent(norm, epsilon), streams.branch(0))
        self._losses.add(bounded.losses, bounded.correct)
        one_step = fgsm(model, images, labels, **ball)
        self._one_step.add(bounded.correct, one_step.success, bounded.broken)
        free = climb(model, images, labels, _ascent(norm, _reach(images, norm)), None)
        self._unbounded.add(bounded.correct, free.broken, torch.zeros_like(free.broken))
        climbing, searching = streams.branch(1), streams.branch(2)
        climbed = apgd(model, images, labels, **ball, iterations=APGD_ITERATIONS, generator=climbing)
        windows = self._square_iterations
        searched = square(model, images, labels, **ball, iterations=windows, generator=searching)
        self._correct, self._broken = bounded.correct, bounded.broken | climbed.success
        self._square.add(self._correct, searched.success, self._broken)
        return bounded.images

    def replay(self, others: Tensor, labels: Tensor) -> None:
        """Take images (B, C, H, W) made against the other model, of the batch attacked last."""
        with torch.no_grad(), full_precision(others.device):
            fooled = succeeded(self._model(others), labels, None)
        self._transfer.add(self._correct, fooled, self._broken)

    def result(self, repeats: Repeats, chance: float) -> Probes:
        """Return what was found, waiting for the device."""
        free = self._unbounded.result()
        return Probes(
            repeats=repeats,
            gradients=self._gradients.result(),
            losses=self._losses.result(),
            unbounded=Unbounded(free.images, free.images - free.only_challenger, chance) if free else None,
            one_step=self._one_step.result(),
            transfer=self._transfer.result(),
            square=self._square.result(),
        )


def _ascent(norm: Norm, epsilon: float) -> Ascent:
    return Ascent(norm, epsilon, step_size(epsilon, POINTS[-1]))


def _reach(images: Tensor, norm: Norm) -> float:
    """Return the radius within which an image can become any other."""
    return 1.0 if norm == "linf" else math.sqrt(images[0].numel())
