"""Accuracy against the radius: from nothing to where no classifier can see anything (Carlini et al. 2019).

An attack whose success does not rise to 100% there is not attacking: https://arxiv.org/abs/1902.06705.
"""

import math

import torch
from torch import Tensor

from ladder_core.attacks import pgd
from ladder_core.counting import paired
from ladder_core.datasets.base import Indices
from ladder_core.evaluation.ledger import Column, Columns, Ledger
from ladder_core.evaluation.subjects import Subjects
from ladder_schema.config import ThreatModel
from ladder_schema.report import CurvePoint, EpsilonCurve

_GREY = 0.5
"""Within this Linf radius of any image lies the evenly grey one."""


def radii(threat_model: ThreatModel, points: int, image_shape: tuple[int, int, int]) -> tuple[float, ...]:
    """Return that many radii from 0: evenly to the threat model's, then by equal factors to the blind one.

    Args:
        threat_model: Norm and radius.
        points: At least 2.
        image_shape: Channels, height, width.
    """
    epsilon, blind = threat_model.epsilon, _GREY
    if threat_model.norm == "l2":
        blind *= math.sqrt(math.prod(image_shape))
    if epsilon >= blind or points < 4:
        return tuple(max(epsilon, blind) * step / (points - 1) for step in range(points))
    inner = (points - 1) // 2
    outer = points - 1 - inner
    within = [epsilon * step / inner for step in range(inner + 1)]
    return (*within, *(epsilon * (blind / epsilon) ** (step / outer) for step in range(1, outer + 1)))


def measure_curve(subjects: Subjects, ledger: Ledger, positions: Indices, clean: Tensor) -> EpsilonCurve:
    """Attack both models with PGD at growing radii, on the same images.

    What is broken at a radius is broken at every larger one; what is not goes on from where it got to.

    Args:
        subjects: Both models.
        ledger: Keeps what was measured.
        positions: (n,) of the images in the test split.
        clean: (N, 2) what both models take every test image for.
    """
    config, norm = subjects.config, subjects.threat_model.norm
    epsilons = radii(subjects.threat_model, config.curve_points, subjects.test.image_shape)

    def survived(model: torch.nn.Module, images: Tensor, labels: Tensor, start: int) -> Tensor:
        """Return (B,) int64, how many of the radii above 0 each image withstood."""
        stream = subjects.stream("evaluate-curve", start)
        count = torch.zeros_like(labels)
        current, rows = images, torch.arange(len(images), device=images.device)
        for number, epsilon in enumerate(epsilons[1:]):
            found = pgd(
                model,
                images[rows],
                labels[rows],
                epsilon=epsilon,
                norm=norm,
                steps=config.pgd_steps,
                generator=stream,
                start=current[rows] if number else None,
            )
            rows = rows[~found.success]
            if len(rows) == 0:
                break
            current = current.clone()
            current[rows] = found.images[~found.success]
            count[rows] += 1
        return count

    def measure(start: int, end: int) -> Columns:
        images, labels = subjects.test.batch(positions[start:end], subjects.device)
        counts = [survived(ledger.watched(model), images, labels, start) for model in subjects.models]
        return {"survived": torch.stack(counts, dim=1).cpu()}

    kept = ledger.columns(
        "curve",
        len(positions),
        {"survived": Column(torch.int64)},
        measure,
        batch_size=subjects.batch_size,
    )["survived"]
    right = clean[positions] == subjects.labels(positions)[:, None]
    return EpsilonCurve(
        attack="pgd",
        norm=norm,
        parameters={"steps": config.pgd_steps, "restarts": 1, "loss": "ce"},
        points=tuple(
            CurvePoint(epsilon=epsilon, outcome=paired(right & (kept >= number)))
            for number, epsilon in enumerate(epsilons)
        ),
    )
