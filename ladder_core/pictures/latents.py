"""The latent space around a boundary: along the SVM's normal, and along the widest direction it leaves."""

import numpy as np
import torch
from torch import Tensor

from ladder_core.attacks import LadderAttacker
from ladder_core.boundary import Boundaries
from ladder_core.datasets.base import Indices
from ladder_core.latents import Latents
from ladder_core.perturb import perturb
from ladder_core.seeding import numpy_stream
from ladder_schema.report import LatentPlane

PLANES = 4
SAMPLES = 200
"""Latents of each class of a plane, at most; and of moved ones."""
_DIGITS = 5


@torch.no_grad()
def latent_planes(
    attacker: LadderAttacker,
    latents: Latents,
    labels: Indices,
    *,
    rho: float,
    seed: int,
    device: torch.device,
) -> tuple[LatentPlane, ...]:
    """Return the planes of the pairs the model confuses most.

    A pair's SVM is linear in attended latents ``beta * z`` (Eq. 2), so the planes are of those: distances
    along the normal are the SVM's own decision values over the normal's length.

    Args:
        attacker: Its boundaries and head.
        latents: z of a split, and how the model confuses classes.
        labels: (N,) of the split.
        rho: Relative step of the moved latents, from a pair's first class towards its second.
        seed: The job's seed.
        device: Where the boundaries are.
    """
    rng = numpy_stream(seed, "planes")
    planes: list[LatentPlane] = []
    for row in _most_confused(attacker.boundaries, latents.confusion):
        pair = attacker.boundaries.pairs[row].tolist()
        members = [np.flatnonzero(labels == label) for label in pair]
        chosen = [np.sort(rng.permutation(each)[:SAMPLES]) for each in members]
        if min(map(len, chosen)):
            samples = [latents.batch(each, device) for each in chosen]
            planes.append(_plane(attacker, row, samples[0], samples[1], rho))
    return tuple(planes)


def _most_confused(boundaries: Boundaries, confusion: Tensor) -> list[int]:
    """Return the rows of the pairs that the model confuses most, the worst first."""
    first, second = boundaries.pairs.cpu().T
    confused = confusion[first, second] + confusion[second, first]
    return confused.argsort(descending=True, stable=True)[:PLANES].tolist()


def _plane(attacker: LadderAttacker, row: int, first: Tensor, second: Tensor, rho: float) -> LatentPlane:
    boundaries = attacker.boundaries
    label, target = boundaries.pairs[row].tolist()
    attended = boundaries.attended(torch.cat([first, second]), row)
    length = boundaries.normal[row].norm().clamp_min(1e-12)
    normal = boundaries.normal[row] / length
    across = _widest(attended - torch.outer(attended @ normal, normal))
    centre = attended.mean(dim=0) @ across

    def seen(points: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        along = points @ normal + boundaries.offset[row] / length
        return _rounded(along), _rounded(points @ across - centre)

    moved = boundaries.attended(_moved(attacker, first, label, target, rho), row)
    (along, aside), (moved_along, moved_aside) = seen(attended), seen(moved)
    return LatentPlane(
        label=label,
        target=target,
        along=along,
        across=aside,
        labels=(label,) * len(first) + (target,) * len(second),
        moved_along=moved_along,
        moved_across=moved_aside,
    )


def _widest(points: Tensor) -> Tensor:
    """Return the first principal component (D,) of points (n, D), its largest element above 0."""
    centred = (points - points.mean(dim=0)).double()
    component: Tensor = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return component.mul(component[component.abs().argmax()].sign()).float()


def _moved(attacker: LadderAttacker, latents: Tensor, label: int, target: int, rho: float) -> Tensor:
    """Return latents of one class moved towards the other, of those that the attack applies to."""
    sources, targets = (torch.full((len(latents),), each, device=latents.device) for each in (label, target))
    moved = perturb(
        latents,
        sources,
        targets,
        torch.full((len(latents),), rho, device=latents.device),
        attacker.boundaries.directions(latents, sources, targets),
        attacker.head_weight,
        attacker.head_bias,
    )
    return moved.latents[moved.valid]


def _rounded(values: Tensor) -> tuple[float, ...]:
    """Return values to as many digits as a plot shows."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
