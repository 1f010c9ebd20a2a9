"""What every attack is given, what it returns, and the check of what it promises.

An attack is a function ``attack(model, images, labels, *, targets=None, generator=...) -> AttackResult``.
It asks the model through an `Oracle`, which counts, and ends in `finish`, which believes nothing of what the
attack found: bounds, radius and success are the model's own answer on exactly the images returned.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["linf", "l2"]
Loss = Callable[[Tensor], Tensor]
"""From logits (B, K) to a value for each sample (B,)."""


@dataclass(frozen=True)
class Distances:
    """How far each image was moved, in pixels of [0, 1].

    Attributes:
        linf: (B,) largest change of an element.
        l2: (B,) Euclidean.
        l1: (B,) sum of changes.
        l0: (B,) int64, how many elements (channel, row, column) changed at all.
    """

    linf: Tensor
    l2: Tensor
    l1: Tensor
    l0: Tensor

    @classmethod
    def between(cls, originals: Tensor, images: Tensor) -> "Distances":
        """Measure two batches (B, C, H, W) against each other."""
        moved = (images - originals).flatten(1)
        return cls(
            linf=moved.abs().amax(dim=1),
            l2=moved.norm(dim=1),
            l1=moved.abs().sum(dim=1),
            l0=moved.count_nonzero(dim=1),
        )


@dataclass(frozen=True)
class AttackResult:
    """What an attack did.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1]; where the attack failed, its last attempt.
        success: (B,) bool, by a forward pass of its own in full precision: the model misclassifies the image,
            or in a targeted attack takes it for its target.
        distances: Of the images from the originals.
        queries: (B,) int64, forward passes each sample took, those of gradients among them.
        gradients: (B,) int64, backward passes each sample took.
        iterations: Most iterations that any sample took.
    """

    images: Tensor
    success: Tensor
    distances: Distances
    queries: Tensor
    gradients: Tensor
    iterations: int


class Oracle:
    """The model as an attack sees it: logits and gradients by the image, in full precision, and counted.

    ``rows`` say which samples of the attacked batch the images belong to; a sample may come several times.
    """

    def __init__(self, model: nn.Module, images: Tensor, counting: "Oracle | None" = None) -> None:
        """Attack a model, images (B, C, H, W) in [0, 1] to logits (B, K), in evaluation mode.

        Args:
            model: The model, or a faster form of it.
            images: What is attacked.
            counting: An oracle of another form of the model, whose counts this one adds to.
        """
        self._model = model
        none = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.queries, self.gradients = none, none.clone()
        if counting is not None:
            self.queries, self.gradients = counting.queries, counting.gradients

    @torch.no_grad()
    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return the logits (n, K) of images (n, C, H, W)."""
        self._count(self.queries, rows)
        with full_precision(images.device):
            logits: Tensor = self._model(images)
        return logits

    def gradient(self, images: Tensor, loss: Loss, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a loss' gradient (n, C, H, W) by the images, its values (n,) and the logits (n, K).

        Args:
            images: (n, C, H, W).
            loss: From logits to a value a sample; each sample's depends on its own logits alone.
            rows: (n,) samples of the attacked batch.
        """
        self._count(self.queries, rows)
        self._count(self.gradients, rows)
        with torch.enable_grad(), full_precision(images.device):
            inputs = images.detach().requires_grad_()
            logits = self._model(inputs)
            values = loss(logits)
            (gradient,) = torch.autograd.grad(values.sum(), inputs)
        return gradient, values.detach(), logits.detach()

    def several_gradients(self, images: Tensor, losses: Loss, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return several losses' gradients (n, M, C, H, W), their values (n, M) and the logits (n, K).

        It counts as one forward and M backward passes.

        Args:
            images: (n, C, H, W).
            losses: From logits to M values a sample (n, M); each sample's depend on its own logits alone.
            rows: (n,) samples of the attacked batch.
        """
        self._count(self.queries, rows)
        with torch.enable_grad(), full_precision(images.device):
            inputs = images.detach().requires_grad_()
            logits = self._model(inputs)
            values = losses(logits)
            gradients: list[Tensor] = []
            for total in values.sum(dim=0).unbind():
                self._count(self.gradients, rows)
                gradients += torch.autograd.grad(total, inputs, retain_graph=True)
        return torch.stack(gradients, dim=1), values.detach(), logits.detach()

    @staticmethod
    def _count(counts: Tensor, rows: Tensor) -> None:
        counts.index_add_(0, rows, torch.ones_like(rows))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 inside: neither autocast nor TF32 may decide a verdict."""
    if device.type != "cuda":
        with torch.autocast(device.type, enabled=False):
            yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolutions, products


NO_CLASS = -1
"""The prediction of a model whose logits name no largest one."""


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the classes (B,) that logits (B, K) name; `NO_CLASS` of NaN or of an infinite largest one.

    Logits of minus infinity are how a model leaves classes out: they name the others all the same.
    """
    largest, classes = logits.max(dim=1)
    return torch.where(largest.isfinite(), classes, NO_CLASS)


def succeeded(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return (B,) bool: the prediction is the target or, without targets, is not the label.

    A model that names no class does not classify: without targets that is a success.
    """
    classes = predicted_classes(logits)
    return classes != labels if targets is None else classes == targets


def project(candidates: Tensor, images: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """Return the candidates moved into the ball around the images and into [0, 1].

    The box comes second: it holds the image itself, so it only brings a candidate nearer.
    """
    if norm == "linf":
        return torch.minimum(torch.maximum(candidates, images - epsilon), images + epsilon).clamp_(0, 1)
    moved = candidates - images
    length = per_sample(moved.flatten(1).norm(dim=1), images)
    return (images + moved * (epsilon / length.clamp_min(1e-12)).clamp_max(1)).clamp_(0, 1)


def per_sample(values: Tensor, images: Tensor) -> Tensor:
    """Return values (B,) shaped to be combined with images (B, C, H, W)."""
    return values.reshape(-1, *[1] * (images.dim() - 1))


def finish(
    oracle: Oracle,
    images: Tensor,
    labels: Tensor,
    candidates: Tensor,
    *,
    iterations: int,
    targets: Tensor | None = None,
    norm: Norm | None = None,
    epsilon: float | None = None,
) -> AttackResult:
    """Bring an attack's candidates into its threat model, and judge what is left.

    Args:
        oracle: Of the attacked model.
        images: (B, C, H, W) originals.
        labels: (B,) true classes.
        candidates: (B, C, H, W) what the attack found; one that is not finite is given up for the original.
        iterations: Most that any sample took.
        targets: (B,) classes of a targeted attack.
        norm: Of the radius.
        epsilon: Radius in pixels; None where the attack has none.
    """
    finite = candidates.flatten(1).isfinite().all(dim=1)
    candidates = torch.where(per_sample(finite, images), candidates, images)
    if norm is None or epsilon is None:
        candidates = candidates.clamp(0, 1)
    else:
        candidates = project(candidates, images, norm, epsilon)
    rows = torch.arange(len(images), device=images.device)
    success = succeeded(oracle.logits(candidates, rows), labels, targets)
    return AttackResult(
        candidates,
        success,
        Distances.between(images, candidates),
        oracle.queries,
        oracle.gradients,
        iterations,
    )
