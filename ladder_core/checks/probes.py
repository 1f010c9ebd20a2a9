"""What the checks ask the models themselves, on a few images.

Sums stay on the device until a probe ends. Attacks start where each check needs them to, so they are short
loops here rather than calls of the evaluation's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ladder_core.attacks.base import Oracle, full_precision, succeeded
from ladder_core.attacks.losses import attack_loss
from ladder_core.attacks.pgd import Ascent
from ladder_core.attacks.samples import all_rows
from ladder_core.attacks.streams import SampleStreams
from ladder_core.checks.statistics import Contest
from ladder_core.checks.values import Gradients, LossCurve, Output, Repeats

POINTS = (0, 1, 2, 5, 10, 20, 40)
"""Steps after which the loss is looked at."""


@dataclass(frozen=True)
class Climb:
    """A run of PGD on one batch, which takes every step and keeps what it saw.

    Attributes:
        correct: (B,) bool: classified correctly at first.
        broken: (B,) bool: misclassified at one of its points.
        images: (B, C, H, W) at the last point.
        losses: (B, P) cross-entropy at each point of `POINTS`.
    """

    correct: Tensor
    broken: Tensor
    images: Tensor
    losses: Tensor


def climb(
    model: nn.Module, images: Tensor, labels: Tensor, ascent: Ascent, streams: SampleStreams | None
) -> Climb:
    """Ascend the cross-entropy; every sample takes every step.

    Args:
        model: In evaluation mode.
        images: (B, C, H, W).
        labels: (B,).
        ascent: How far, and in what steps.
        streams: Of the random start; None to start from the images themselves.
    """
    oracle, rows, objective = Oracle(model, images), all_rows(images), attack_loss("ce", labels)
    broken = succeeded(oracle.logits(images, rows), labels, None)
    correct, current = ~broken, images if streams is None else ascent.start(images, streams)
    losses = [objective(oracle.logits(current, rows))]
    for step in range(1, POINTS[-1] + 1):
        gradient, _, _ = oracle.gradient(current, objective, rows)
        current = ascent.move(current, gradient.nan_to_num(), images)
        if step in POINTS:
            logits = oracle.logits(current, rows)
            losses.append(objective(logits))
            broken = broken | succeeded(logits, labels, None)
    return Climb(correct, broken, current, torch.stack(losses, dim=1))


def probe_repeats(model: nn.Module, images: Tensor) -> Repeats:
    """Ask a model about a batch (B, C, H, W) twice, and about its first half beside black images."""
    half = (len(images) + 1) // 2
    company = images.clone()
    company[half:] = 0
    with torch.no_grad(), full_precision(images.device):
        first, second, third = model(images), model(images), model(company)
    repeated, regrouped = _scaled_difference(first, second), _scaled_difference(first[:half], third[:half])
    found = torch.stack(
        [
            repeated.double(),
            (first.argmax(dim=1) != second.argmax(dim=1)).sum().double(),
            regrouped.double(),
            (first.argmax(dim=1) != third.argmax(dim=1))[:half].sum().double(),
        ]
    ).tolist()
    return Repeats(len(images), found[0], int(found[1]), found[2], int(found[3]))


def _scaled_difference(first: Tensor, second: Tensor) -> Tensor:
    """Return the largest distance between logits scaled to length 1; what is not finite counts as 0."""
    first, second = (nn.functional.normalize(logits.nan_to_num(), dim=1) for logits in (first, second))
    largest: Tensor = (first - second).norm(dim=1).max()
    return largest


class GradientTally:
    """Counts useless gradients over batches."""

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._margins: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Look at a batch that the model is in evaluation mode for."""
        oracle, rows = Oracle(model, images), all_rows(images)
        by_loss, _, logits = oracle.gradient(images, attack_loss("ce", labels), rows)
        by_margin, margins, _ = oracle.gradient(images, attack_loss("cw", labels), rows)
        # Of an image that is misclassified an attack has nothing left to do.
        correct = ~succeeded(logits, labels, None) | ~logits.isfinite().all(dim=1)
        finite = torch.stack([_finite(part) for part in (by_loss, by_margin, logits)]).all(dim=0)
        seen = (_zero(by_loss), _zero(by_margin) & _zero(by_loss), ~finite)
        self._counts += torch.stack([correct.sum(), *((correct & each).sum() for each in seen)])
        self._margins.append(torch.where(correct, -margins, torch.nan))
        self._logits.append(logits)

    def result(self) -> Gradients | None:
        """Return the counts; None of no image."""
        images, zero_loss, zero_margin, non_finite = self._counts.tolist()
        if not images:
            return None
        middle = torch.cat(self._margins).nanmedian().nan_to_num()
        return Gradients(
            images, zero_loss, zero_margin, non_finite, float(middle), _kind_of(torch.cat(self._logits))
        )


def _zero(gradient: Tensor) -> Tensor:
    return (gradient == 0).flatten(1).all(dim=1)


def _finite(values: Tensor) -> Tensor:
    return values.isfinite().flatten(1).all(dim=1)


def _kind_of(logits: Tensor) -> Output:
    """Say what outputs (n, K) are: probabilities add up to 1, and so do logarithms' powers of e."""

    def near_one(sums: Tensor) -> bool:
        # What was rounded or clipped after the softmax adds up less exactly than AutoAttack's test asks for.
        return bool(((sums - 1).abs() < 0.05).all())

    if bool((logits >= 0).all()) and near_one(logits.sum(dim=1)):
        return "probabilities"
    return "log_probabilities" if near_one(logits.exp().sum(dim=1)) else "logits"


class LossTally:
    """Gathers the losses of `climb` over batches, of the images that the model is right about."""

    def __init__(self, device: torch.device) -> None:
        points = len(POINTS)
        self._images = torch.zeros((), dtype=torch.int64, device=device)
        self._sums = torch.zeros(points, dtype=torch.float64, device=device)
        self._moves = torch.zeros(3, points - 1, dtype=torch.int64, device=device)

    def add(self, losses: Tensor, correct: Tensor) -> None:
        """Add losses (B, P) of images of which the model is right about some (B,)."""
        losses = losses.double().nan_to_num(posinf=0.0)
        kept = correct[:, None]
        steps = losses.diff(dim=1)
        self._images += correct.sum()
        self._sums += torch.where(kept, losses, 0.0).sum(dim=0)
        ended = ((losses[:, -1:] > losses[:, :1]) & kept).sum(dim=0).expand(steps.shape[1])
        self._moves += torch.stack([((steps > 0) & kept).sum(dim=0), ((steps < 0) & kept).sum(dim=0), ended])

    def result(self) -> LossCurve | None:
        """Return the mean losses; None of no image."""
        images = int(self._images)
        if not images:
            return None
        rose, fell, ended = self._moves.tolist()
        losses = (self._sums / images).tolist()
        return LossCurve(images, POINTS, tuple(losses), tuple(rose), tuple(fell), ended[0])


class ContestTally:
    """Counts, over batches, which images two attacks break."""

    def __init__(self, challenger: str, reference: str, device: torch.device) -> None:
        self._names = (challenger, reference)
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)

    def add(self, correct: Tensor, challenger: Tensor, reference: Tensor) -> None:
        """Add a batch (B,): what the model is right about, and what each attack breaks."""
        self._counts += torch.stack(
            [
                correct.sum(),
                (correct & challenger & ~reference).sum(),
                (correct & reference & ~challenger).sum(),
            ]
        )

    def result(self) -> Contest | None:
        """Return the contest; None of no image."""
        images, only_challenger, only_reference = self._counts.tolist()
        return Contest(*self._names, images, only_challenger, only_reference) if images else None
