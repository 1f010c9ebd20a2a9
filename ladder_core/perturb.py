"""Latent perturbation along a pair's attended boundary normal: paper 3.1.2 and Eq. 3.

The paper writes ``z' = z + epsilon * beta * d``. With u the unit vector along ``beta * d``, ours is relative:
``z' = z + rho * tau * u`` where tau is the distance along u at which the classifier's own head is undecided
between the source and the target class. So rho = 1 is on that boundary for every sample, pair and model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ladder_core.boundary import Boundaries
from ladder_core.records import Record, Stored


@dataclass(frozen=True)
class Perturbation:
    """Perturbed latents and which of them mean something.

    Attributes:
        latents: (B, D); unchanged where not valid.
        valid: (B,) bool: classified correctly at first, and the boundary lies ahead.
        misclassified: (B,) bool: the head was already wrong about the unperturbed latent.
        rho: (B,) relative step of each sample.
        targets: (B,) class moved towards.
    """

    latents: Tensor
    valid: Tensor
    misclassified: Tensor
    rho: Tensor
    targets: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Perturbation":
        """Return some of the samples."""
        return Perturbation(
            self.latents[rows], self.valid[rows], self.misclassified[rows], self.rho[rows], self.targets[rows]
        )

    def to(self, device: torch.device | str) -> "Perturbation":
        """Return the samples on a device."""
        return Perturbation(
            self.latents.to(device),
            self.valid.to(device),
            self.misclassified.to(device),
            self.rho.to(device),
            self.targets.to(device),
        )

    def record(self) -> Record:
        """Return what a checkpoint keeps; the samples are on the CPU."""
        return Record({column.name: getattr(self, column.name) for column in fields(self)})

    @classmethod
    def read(cls, stored: Stored, *, samples: int, dimension: int) -> "Perturbation":
        """Take that many samples from a checkpoint, mapped from its file.

        Raises:
            RecordError: The checkpoint has no such samples.
        """
        return cls(
            latents=stored.tensor("latents", (samples, dimension)),
            valid=stored.tensor("valid", (samples,), torch.bool),
            misclassified=stored.tensor("misclassified", (samples,), torch.bool),
            rho=stored.tensor("rho", (samples,)),
            targets=stored.tensor("targets", (samples,), torch.int64),
        )


def concatenate(parts: Sequence[Perturbation]) -> Perturbation:
    """Join perturbed samples."""
    names = [column.name for column in fields(Perturbation)]
    return Perturbation(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def random_targets(sources: Tensor, boundaries: Boundaries, generator: torch.Generator) -> Tensor:
    """Return for each source (B,) another class, uniformly among those its pair was built with."""
    built = (boundaries.index[sources] >= 0).cpu()
    keys = torch.rand(built.shape, generator=generator).masked_fill(~built, -1.0)
    return keys.argmax(dim=1).to(sources.device)


def nearest_targets(logits: Tensor, sources: Tensor, boundaries: Boundaries) -> Tensor:
    """Return for each sample the class of largest logit among those its source's pair was built with."""
    allowed = boundaries.index[sources] >= 0
    return logits.masked_fill(~allowed, -torch.inf).argmax(dim=1)


def perturb(
    latents: Tensor,
    sources: Tensor,
    targets: Tensor,
    rho: Tensor,
    directions: Tensor,
    head_weight: Tensor,
    head_bias: Tensor,
) -> Perturbation:
    """Step from each latent along its direction, in units of the distance to the head's own boundary.

    For an affine head the margin along u is linear, so the crossing is closed form: with
    ``m = (w_y - w_t) z + b_y - b_t`` and slope ``s = (w_y - w_t) u``, tau = -m / s.

    Args:
        latents: (B, D).
        sources: (B,) true classes.
        targets: (B,) classes to move towards.
        rho: (B,) relative steps.
        directions: (B, D) unit vectors u.
        head_weight: (K, D).
        head_bias: (K,).
    """
    predicted = torch.addmm(head_bias, latents, head_weight.T).argmax(dim=1)
    normals = head_weight[sources] - head_weight[targets]
    margin = (normals * latents).sum(dim=1) + head_bias[sources] - head_bias[targets]
    slope = (normals * directions).sum(dim=1)
    # A slope this far below the normal's length is noise: u is orthogonal to it.
    ahead = slope < -1e-4 * normals.norm(dim=1)
    misclassified = predicted != sources
    valid = ahead & ~misclassified
    distance = torch.where(valid, -margin / torch.where(ahead, slope, -1.0), 0.0)
    moved = latents + (rho * distance)[:, None] * directions
    return Perturbation(moved, valid, misclassified, rho, targets)
