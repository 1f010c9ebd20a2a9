"""Linear models, whose best attack is known in closed form, and what every attack promises."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ladder_core.attacks import AttackResult, Norm
from ladder_core.attacks.base import Distances

SHAPE = (2, 3, 3)


class Linear(nn.Module):
    """Two logits, their difference w x + b: an Linf step of epsilon moves it by epsilon |w|_1 at most."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2 * 3 * 3, generator=stream))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum())

    def forward(self, images: Tensor) -> Tensor:
        margin = images.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


class Affine(nn.Module):
    """K logits W x + b, balanced so that the grey image is nearly on every boundary."""

    def __init__(self, seed: int, classes: int = 5) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 2 * 3 * 3, generator=stream))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def grey_images(seed: int, count: int) -> Tensor:
    """Images (count, 2, 3, 3) so far from 0 and 1 that the bounds don't bind near a boundary."""
    stream = torch.Generator().manual_seed(seed + 1)
    return 0.4 + 0.2 * torch.rand(count, *SHAPE, generator=stream)


def coarse_images(seed: int, count: int) -> Tensor:
    """Images (count, 2, 3, 3) with elements in tenths: some are exactly 0 or 1."""
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPE, generator=stream).round(decimals=1)


def case(seed: int, count: int = 200) -> tuple[Linear, Tensor, Tensor, Tensor]:
    """A model of two classes, grey images, the labels it gives them, and each one's margin."""
    model, images = Linear(seed), grey_images(seed, count)
    logits = model(images).detach()
    return model, images, logits.argmax(dim=1), (logits[:, 1] - logits[:, 0]).abs()


def affine_case(seed: int, count: int = 200, classes: int = 5) -> tuple[Affine, Tensor, Tensor]:
    """A model of several classes, grey images, and the labels it gives them."""
    model, images = Affine(seed, classes), grey_images(seed, count)
    return model, images, model(images).argmax(dim=1)


@torch.no_grad()
def minimal_distances(model: Affine, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """How far (B,) the nearest image of another class is, where the bounds don't bind.

    It is on the nearest of the boundaries, of which class k's is (z_y - z_k) / ||w_y - w_k|| away, in the
    dual norm.
    """
    logits = model(images)
    gaps = logits.gather(1, labels[:, None]) - logits
    between = model.weight[labels][:, None] - model.weight[None]
    lengths = between.norm(dim=2) if norm == "l2" else between.abs().sum(dim=2)
    return (gaps / lengths).scatter(1, labels[:, None], torch.inf).amin(dim=1)


@torch.no_grad()
def assert_promises(
    result: AttackResult,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: Norm | None = None,
    epsilon: float = 1.0,
) -> None:
    """Bounds, radius, success and distances are true, and what was broken from the start was let be."""
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    if norm is not None:
        assert getattr(Distances.between(images, result.images), norm).max() <= epsilon + 1e-6
    wanted = labels if targets is None else targets
    hit = (model(result.images).argmax(dim=1) == wanted) == (targets is not None)
    assert torch.equal(result.success, hit)
    for name in ("linf", "l2", "l1", "l0"):
        assert torch.equal(
            getattr(result.distances, name), getattr(Distances.between(images, result.images), name)
        )
    broken = (model(images).argmax(dim=1) == wanted) == (targets is not None)
    assert torch.equal(result.images[broken], images[broken])


def assert_same(whole: AttackResult, parts: list[AttackResult], tolerance: float = 1e-5) -> None:
    """What an attack made of a batch is what it made of the batch's parts, in their order."""
    assert torch.equal(whole.success, torch.cat([part.success for part in parts]))
    torch.testing.assert_close(
        whole.images, torch.cat([part.images for part in parts]), rtol=0, atol=tolerance
    )
    assert torch.equal(whole.queries, torch.cat([part.queries for part in parts]))
    assert torch.equal(whole.gradients, torch.cat([part.gradients for part in parts]))


Attack = Callable[[nn.Module, Tensor, Tensor, Tensor | None, torch.Generator], AttackResult]
"""An attack with its parameters bound: model, images, labels, targets or None, generator."""


def assert_sound(
    attack: Attack, seed: int, *, targeted: bool, norm: Norm | None = None, epsilon: float = 1.0
) -> AttackResult:
    """Promises hold on any labels and on elements at exactly 0 or 1; so do determinism and any split."""
    model, images = Affine(seed), coarse_images(seed, 12)
    labels = torch.randint(5, (12,), generator=torch.Generator().manual_seed(seed))
    targets = (labels + 1) % 5 if targeted else None

    def attacked(*parts: slice) -> list[AttackResult]:
        stream = torch.Generator().manual_seed(seed)
        return [
            attack(model, images[part], labels[part], None if targets is None else targets[part], stream)
            for part in parts
        ]

    (whole,) = attacked(slice(None))
    assert_promises(whole, model, images, labels, targets=targets, norm=norm, epsilon=epsilon)
    assert_same(whole, attacked(slice(None)), tolerance=0)
    assert_same(whole, attacked(slice(0, 5), slice(5, 12)))
    return whole
