"""Projected gradient descent: Madry et al. 2018, https://arxiv.org/abs/1706.06083.

With momentum it is Dong et al.'s iterative method (2018, https://arxiv.org/abs/1710.06081).
"""

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, project, succeeded
from ladder_core.attacks.fgsm import ascent_direction
from ladder_core.attacks.losses import LossName, attack_loss
from ladder_core.attacks.samples import Samples, all_rows, check_is_due
from ladder_core.attacks.streams import SampleStreams


@dataclass(frozen=True)
class Ascent:
    """How iterates move.

    Attributes:
        norm: Of the ball.
        epsilon: Its radius in pixels.
        step: Length of a step in the norm, in pixels.
        momentum: Share of the accumulated gradient that is kept.
    """

    norm: Norm
    epsilon: float
    step: float
    momentum: float = 0.0

    def start(self, images: Tensor, streams: SampleStreams) -> Tensor:
        """Draw a point of the ball around each image, uniformly, and bring it into [0, 1]."""
        shape = images.shape[1:]
        if self.norm == "linf":
            moved = (2 * streams.uniform(*shape) - 1) * self.epsilon
        else:
            directions = ascent_direction(streams.normal(*shape), "l2")
            lengths = self.epsilon * streams.uniform() ** (1 / prod(shape))
            moved = directions * per_sample(lengths, images)
        return project(images + moved, images, self.norm, self.epsilon)

    def accumulate(self, velocity: Tensor, gradient: Tensor) -> Tensor:
        """Add a gradient, scaled to an L1 norm of 1, to what is kept of those before."""
        if not self.momentum:
            return gradient
        length = per_sample(gradient.flatten(1).abs().sum(dim=1), gradient)
        return self.momentum * velocity + gradient / length.clamp_min(1e-30)

    def move(self, current: Tensor, velocity: Tensor, images: Tensor) -> Tensor:
        """Step along the velocity, and back into the ball and [0, 1]."""
        stepped = current + self.step * ascent_direction(velocity, self.norm)
        return project(stepped, images, self.norm, self.epsilon)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    norm: Norm = "linf",
    step: float | None = None,
    restarts: int = 1,
    momentum: float = 0.0,
    loss: LossName = "ce",
    targets: Tensor | None = None,
    start: Tensor | None = None,
) -> AttackResult:
    """PGD from random starts; samples leave the batch at the first iterate that is adversarial.

    An example it returns has just crossed the boundary of this model: to replay it on another, take
    `pgd_last_iterate`, which goes on. An image that is misclassified as it is is returned as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        steps: Gradient steps per restart.
        generator: CPU stream of the random starts; a sample's do not depend on the others.
        norm: Of the ball; gradients are followed by their sign (Linf) or direction (L2).
        step: Length of a step in pixels; by default `step_size`.
        restarts: Starts; samples already broken are not tried again.
        momentum: Share of the accumulated gradient that is kept (Dong et al.), from 0 to 1.
        loss: What is raised: cross-entropy, DLR, or Carlini and Wagner's margin.
        targets: (B,) classes to be taken for; without them, any class but the label.
        start: (B, C, H, W) where to begin instead of at a random start; the next restarts are random.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    _check(images, epsilon, steps, step, momentum, start)
    require(restarts >= 1, "restarts", restarts, "give at least 1")
    ascent = Ascent(norm, epsilon, step_size(epsilon, steps) if step is None else step, momentum)
    oracle, streams = Oracle(model, images), SampleStreams.begin(generator, len(images), images.device)
    found, rows = images.clone(), all_rows(images)
    for restart in range(restarts):
        # The first time these are the images themselves.
        logits = oracle.logits(found[rows], rows)
        rows = rows[~succeeded(logits, labels[rows], None if targets is None else targets[rows])]
        if len(rows) == 0:
            break
        climbers = _begin(ascent, images, labels, targets, rows, streams.branch(restart))
        if start is not None and restart == 0:
            climbers = replace(climbers, current=project(start[rows], images[rows], norm, epsilon))
        _climb(oracle, ascent, climbers, steps, loss, found)
    taken = max(oracle.gradients.tolist(), default=0)
    return finish(
        oracle, images, labels, found, iterations=taken, targets=targets, norm=norm, epsilon=epsilon
    )


def step_size(epsilon: float, steps: int) -> float:
    """Return the usual step, in pixels: enough to cross the ball 2.5 times, at least a hundredth of it."""
    return epsilon * max(2.5 / steps, 0.01)


@dataclass(frozen=True)
class _Climbers(Samples):
    """Samples on their way: originals, true and target classes, iterates, and gradients accumulated."""

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    current: Tensor
    velocity: Tensor


def _begin(
    ascent: Ascent,
    images: Tensor,
    labels: Tensor,
    targets: Tensor | None,
    rows: Tensor,
    streams: SampleStreams,
) -> _Climbers:
    originals = images[rows]
    return _Climbers(
        rows=rows,
        images=originals,
        labels=labels[rows],
        targets=None if targets is None else targets[rows],
        current=ascent.start(originals, streams.of(rows)),
        velocity=torch.zeros_like(originals),
    )


def _climb(
    oracle: Oracle, ascent: Ascent, climbers: _Climbers, steps: int, loss: LossName, found: Tensor
) -> None:
    """Take every step with what is not broken yet; writes where each sample got to into ``found``."""
    for iteration in range(steps):
        objective = attack_loss(loss, climbers.labels, climbers.targets)
        gradient, _, logits = oracle.gradient(climbers.current, objective, climbers.rows)
        velocity = ascent.accumulate(climbers.velocity, gradient)
        moved = ascent.move(climbers.current, velocity, climbers.images)
        broken = succeeded(logits, climbers.labels, climbers.targets)
        stays = per_sample(broken, moved)
        climbers = replace(climbers, current=torch.where(stays, climbers.current, moved), velocity=velocity)
        if check_is_due(iteration, found.device) and broken.any():
            found[climbers.rows] = climbers.current
            climbers = climbers.of(~broken)
            if len(climbers) == 0:
                return
    found[climbers.rows] = climbers.current


def pgd_last_iterate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int,
    step: float,
    generator: torch.Generator,
    norm: Norm = "linf",
    momentum: float = 0.0,
    loss: LossName = "ce",
    targets: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Return PGD's last iterate (B, C, H, W) for each image: every sample takes every step.

    For adversarial training, and for examples that are replayed on another model.

    Args:
        model: In the mode the gradients should see.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        steps: Gradient steps.
        step: Length of a step in pixels.
        generator: CPU stream of the random starts; a sample's does not depend on the others.
        norm: Of the ball.
        momentum: Share of the accumulated gradient that is kept, from 0 to 1.
        loss: What is raised: cross-entropy, DLR, or Carlini and Wagner's margin.
        targets: (B,) classes to be taken for; without them, any class but the label.
        start: (B, C, H, W) where to begin instead of at a random start.

    Raises:
        ValueError: A parameter is out of its range.
    """
    _check(images, epsilon, steps, step, momentum, start)
    ascent, oracle, rows = Ascent(norm, epsilon, step, momentum), Oracle(model, images), all_rows(images)
    streams = SampleStreams.begin(generator, len(images), images.device)
    current = ascent.start(images, streams) if start is None else project(start, images, norm, epsilon)
    velocity, objective = torch.zeros_like(images), attack_loss(loss, labels, targets)
    for _ in range(steps):
        gradient, _, _ = oracle.gradient(current, objective, rows)
        velocity = ascent.accumulate(velocity, gradient)
        current = ascent.move(current, velocity, images)
    return current


def _check(
    images: Tensor, epsilon: float, steps: int, step: float | None, momentum: float, start: Tensor | None
) -> None:
    check_radius(epsilon)
    require(steps >= 1, "steps", steps, "give at least 1")
    require(step is None or step >= 0, "step", step, "give a length from 0 on, in pixels of [0, 1]")
    require(0 <= momentum <= 1, "momentum", momentum, "give a share from 0 to 1")
    shape = None if start is None else tuple(start.shape)
    require(shape in (None, tuple(images.shape)), "start's shape", shape, "give a point for every image")
