"""Auto-PGD: Croce and Hein 2020, https://arxiv.org/abs/2003.01690, with the settings of their code.

PGD with momentum whose step is halved, and which goes back to the best point, where a window of iterations
brought too little. Samples leave the batch at their first adversarial iterate: the verdict is then known.
Of a randomised model (``eot`` above 1) one answer decides nothing: samples take every step, and the last
iterate that was misclassified is kept, as in their code.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, project, succeeded
from ladder_core.attacks.deepfool import likeliest_others
from ladder_core.attacks.fgsm import ascent_direction
from ladder_core.attacks.losses import LossName, attack_loss
from ladder_core.attacks.pairs import Pairs, first_of_each, several, siblings_of, single
from ladder_core.attacks.samples import all_rows, check_is_due
from ladder_core.attacks.streams import SampleStreams

_MOMENTUM = 0.75  # alpha of Eq. 3: the share of the new step
_RISING = 0.75  # rho of condition 1: the share of steps that must raise the loss


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    generator: torch.Generator | SampleStreams,
    norm: Norm = "linf",
    iterations: int = 100,
    restarts: int = 1,
    loss: LossName = "ce",
    eot: int = 1,
    targets: Tensor | None = None,
) -> AttackResult:
    """APGD-CE or APGD-DLR from random starts; an image that is misclassified as it is stays as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        generator: CPU stream of the random starts, or streams that the samples have already.
        norm: Of the ball.
        iterations: Gradient steps per restart.
        restarts: Random starts; samples already broken are not tried again.
        loss: What is raised: cross-entropy, Carlini and Wagner's margin, or DLR, which needs three classes
            (four, given targets).
        eot: Gradients averaged at each step, for randomised models (expectation over transformation); above 1
            no sample leaves early.
        targets: (B,) classes to be taken for; without them, any class but the label.

    Raises:
        ValueError: A parameter is out of its range, or the loss is not defined for so few classes.
    """
    check_batch(images, labels, targets)
    settings = _Settings(norm, epsilon, iterations, loss, eot, targeted=targets is not None)
    require(restarts >= 1, "restarts", restarts, "give at least 1")
    oracle, streams = Oracle(model, images), SampleStreams.begin(generator, len(images), images.device)
    remaining = _correct(oracle.logits(images, all_rows(images)), labels, targets)
    found = images.clone()
    for restart in range(restarts):
        pairs = single(remaining, images, labels, targets, streams.branch(restart))
        remaining = _climb_all(oracle, settings, [pairs], found, remaining)
    taken = restarts * iterations
    return finish(
        oracle, images, labels, found, iterations=taken, targets=targets, norm=norm, epsilon=epsilon
    )


def apgd_targeted(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    generator: torch.Generator | SampleStreams,
    norm: Norm = "linf",
    iterations: int = 100,
    restarts: int = 1,
    target_classes: int = 9,
    eot: int = 1,
) -> AttackResult:
    """APGD-T: the targeted DLR loss towards each of the likeliest classes; any misclassification counts.

    Args:
        model: Images in [0, 1] to logits of at least four classes, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        generator: CPU stream of the random starts, or streams that the samples have already.
        norm: Of the ball.
        iterations: Gradient steps per target and restart.
        restarts: Random starts per target.
        target_classes: How many classes are tried; no more than there are others.
        eot: Gradients averaged at each step, for randomised models; above 1 no sample leaves early.

    Raises:
        ValueError: A parameter is out of its range, or the model has fewer than four classes.
    """
    check_batch(images, labels)
    settings = _Settings(norm, epsilon, iterations, "dlr", eot, targeted=False)
    require(restarts >= 1, "restarts", restarts, "give at least 1")
    require(target_classes >= 1, "target_classes", target_classes, "give at least 1")
    oracle, streams = Oracle(model, images), SampleStreams.begin(generator, len(images), images.device)
    logits = oracle.logits(images, all_rows(images))
    remaining, found = _correct(logits, labels, None), images.clone()
    aims = likeliest_others(logits, labels, target_classes)
    for restart in range(restarts):
        pairs = several(remaining, images, labels, aims, streams.branch(restart))
        remaining = _climb_all(oracle, settings, pairs, found, remaining)
    taken = restarts * iterations
    return finish(oracle, images, labels, found, iterations=taken, norm=norm, epsilon=epsilon)


@dataclass(frozen=True)
class _Settings:
    norm: Norm
    epsilon: float
    iterations: int
    loss: LossName
    eot: int
    targeted: bool
    """Whether success is being taken for the aim, rather than not for the label."""

    def __post_init__(self) -> None:
        check_radius(self.epsilon)
        require(self.norm in ("linf", "l2"), "norm", repr(self.norm), "give 'linf' or 'l2'")
        require(self.loss in ("ce", "dlr", "cw"), "loss", repr(self.loss), "give 'ce', 'dlr' or 'cw'")
        require(self.iterations >= 1, "iterations", self.iterations, "give at least 1")
        require(self.eot >= 1, "eot", self.eot, "give at least 1")

    @property
    def leaves_early(self) -> bool:
        """Whether a sample is done at its first adversarial iterate."""
        return self.eot == 1

    def windows(self) -> dict[int, int]:
        """Return after which iterations the step may be halved, and of how many each judges (3.1)."""
        window, least = (max(int(share * self.iterations), 1) for share in (0.22, 0.06))
        shrink = max(int(0.03 * self.iterations), 1)
        windows, end = {}, window - 1
        while end < self.iterations:
            windows[end] = window
            window = max(window - shrink, least)
            end += window
        return windows

    def start(self, pairs: Pairs) -> Tensor:
        """Draw a point at the ball's surface."""
        shape, streams = pairs.images.shape[1:], SampleStreams(pairs.keys)
        if self.norm == "linf":
            noise = 2 * streams.uniform(*shape) - 1
            noise /= per_sample(noise.flatten(1).abs().amax(dim=1), noise).clamp_min(1e-12)
        else:
            noise = ascent_direction(streams.normal(*shape), "l2")
        return (pairs.images + self.epsilon * noise).clamp_(0, 1)


@dataclass(frozen=True)
class _Climb(Pairs):
    """Pairs on their way: iterates (n, C, H, W), and what the halving is judged by (n,).

    ``best`` has the largest loss so far, ``hit`` is the last that was adversarial, where ``broken`` says so.
    """

    current: Tensor
    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor
    broken: Tensor
    hit: Tensor
    last_loss: Tensor
    rises: Tensor
    halved: Tensor
    judged_loss: Tensor


def _correct(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return (~succeeded(logits, labels, targets)).nonzero().squeeze(1)


def _climb_all(
    oracle: Oracle, settings: _Settings, parts: Iterable[Pairs], found: Tensor, remaining: Tensor
) -> Tensor:
    """Run each part; writes what it found, and returns the rows (n,) that are still not broken."""
    broken = torch.zeros(len(found), dtype=torch.bool, device=found.device)
    for pairs in parts:
        _climb(oracle, settings, pairs, found, broken)
    return remaining[~broken[remaining]]


def _climb(oracle: Oracle, settings: _Settings, pairs: Pairs, found: Tensor, broken: Tensor) -> None:
    """Take every step with what is not broken yet; writes images into ``found``, verdicts into ``broken``."""
    if len(pairs) == 0:
        return
    climb, windows = _begin(oracle, settings, pairs), settings.windows()
    for iteration in range(settings.iterations):
        climb = _observe(oracle, settings, climb, _move(settings, climb, first=iteration == 0))
        if iteration in windows:
            climb = _halve(settings, climb, windows[iteration])
        if settings.leaves_early and check_is_due(iteration, found.device) and climb.broken.any():
            climb = _leave(climb, found, broken)
            if len(climb) == 0:
                return
    last = _leave(climb, found, broken)
    first = last.of(last.ranks == 0)
    found[first.rows] = first.best


def _begin(oracle: Oracle, settings: _Settings, pairs: Pairs) -> _Climb:
    current = settings.start(pairs)
    gradient, loss, broken = _ask(oracle, settings, pairs, current)
    return _Climb(
        **{field.name: getattr(pairs, field.name) for field in fields(pairs)},
        current=current,
        previous=current,
        gradient=gradient,
        best=current,
        best_gradient=gradient,
        best_loss=loss,
        step=torch.full_like(loss, 2 * settings.epsilon),
        broken=broken,
        hit=current,
        last_loss=torch.zeros_like(loss),  # The official code compares the first step's loss with 0.
        rises=torch.zeros_like(loss),
        halved=torch.ones_like(broken),
        judged_loss=loss,
    )


def _ask(oracle: Oracle, settings: _Settings, pairs: Pairs, current: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean gradient over the draws, and the last draw's loss and success; NaN does not lead."""
    objective = attack_loss(settings.loss, pairs.labels, pairs.aims)
    gradient, loss, logits = oracle.gradient(current, objective, pairs.rows)
    for _ in range(settings.eot - 1):
        another, loss, logits = oracle.gradient(current, objective, pairs.rows)
        gradient = gradient + another
    broken = succeeded(logits, pairs.labels, pairs.aims if settings.targeted else None)
    return (gradient / settings.eot).nan_to_num_(nan=0.0), loss, broken


def _move(settings: _Settings, climb: _Climb, *, first: bool) -> Tensor:
    """Return the next iterates (Eqs. 2 and 3); samples that are done stay."""
    share = 1.0 if first else _MOMENTUM
    stepped = climb.current + per_sample(climb.step, climb.current) * ascent_direction(
        climb.gradient, settings.norm
    )
    stepped = project(stepped, climb.images, settings.norm, settings.epsilon)
    mixed = climb.current + share * (stepped - climb.current) + (1 - share) * (climb.current - climb.previous)
    moved = project(mixed, climb.images, settings.norm, settings.epsilon)
    return torch.where(per_sample(_done(settings, climb), moved), climb.current, moved)


def _done(settings: _Settings, climb: _Climb) -> Tensor:
    """Return (n,) bool: the pair takes no further step, though it may not have left yet."""
    return climb.broken & settings.leaves_early


def _observe(oracle: Oracle, settings: _Settings, climb: _Climb, moved: Tensor) -> _Climb:
    """Evaluate the next iterates, and keep those that are the best so far."""
    gradient, loss, broken = _ask(oracle, settings, climb, moved)
    better = loss > climb.best_loss
    images_better = per_sample(better, moved)
    return replace(
        climb,
        current=moved,
        previous=climb.current,
        gradient=gradient,
        best=torch.where(images_better, moved, climb.best),
        best_gradient=torch.where(images_better, gradient, climb.best_gradient),
        best_loss=torch.where(better, loss, climb.best_loss),
        broken=climb.broken | broken,
        hit=torch.where(per_sample(broken, moved), moved, climb.hit),
        last_loss=loss,
        rises=climb.rises + (loss > climb.last_loss),
    )


def _halve(settings: _Settings, climb: _Climb, window: int) -> _Climb:
    """Halve the step and go back to the best point under either condition of section 3.1."""
    oscillates = climb.rises <= _RISING * window
    stalls = ~climb.halved & (climb.judged_loss >= climb.best_loss)
    halve = oscillates | stalls
    back = per_sample(halve & ~_done(settings, climb), climb.current)
    return replace(
        climb,
        step=torch.where(halve, climb.step / 2, climb.step),
        current=torch.where(back, climb.best, climb.current),
        gradient=torch.where(back, climb.best_gradient, climb.gradient),
        rises=torch.zeros_like(climb.rises),
        halved=halve,
        judged_loss=climb.best_loss,
    )


def _leave(climb: _Climb, found: Tensor, broken: Tensor) -> _Climb:
    """Write down the pairs that succeeded; their samples' others are dropped with them."""
    hits = climb.of(climb.broken)
    hits = hits.of(first_of_each(hits, len(found)))
    found[hits.rows], broken[hits.rows] = hits.hit, True
    return climb.of(~siblings_of(climb.broken, climb.rows, len(found)))
