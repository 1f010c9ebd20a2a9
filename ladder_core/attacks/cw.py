"""Carlini and Wagner's L2 attack: 2017, https://arxiv.org/abs/1608.04644, section VI-A."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, require
from ladder_core.attacks.base import AttackResult, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.layout import in_fast_layout
from ladder_core.attacks.losses import attack_loss
from ladder_core.attacks.samples import Samples, all_rows

# The paper's pixels (tanh(w) + 1) / 2 are 0 and 1 at infinite w only, from where nothing moves. Here tanh
# runs a little beyond the pixels on both sides, and w is clipped where they end.
_WITHIN = 0.6
# A margin, relative to the largest logit, that rounding in another batch or layout cannot undo.
_ROUNDING = 1e-5
# Adam's (Kingma and Ba 2015).
_MEAN_DECAY, _SQUARE_DECAY, _TINY = 0.9, 0.999, 1e-8
# Early abort: a descent is looked at so many times, and must have lowered its loss by this factor; where it
# has no example yet, this many times its present pace must be enough to reach one in what is left of it.
# As Adam overshoots and comes back, it is left only where this many looks in a row found it of no more use.
_LOOKS, _PROGRESS, _HASTE, _PATIENCE = 10, 0.9999, 2.0, 2


def cw(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
    initial_constant: float = 1e-3,
    abort_early: bool = True,
) -> AttackResult:
    """Minimise ``||x' - x||^2 + c f(x')`` by Adam over w, pixels being tanh of it; search for the least c.

    f is the margin by which the label (the best class but the target) leads, plus the confidence, if
    positive. Each sample has a c of its own; it leaves a descent that no longer gets anywhere, or will not
    get to an example. An image that is misclassified as it is (taken for its target) is returned as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        targets: (B,) classes to be taken for; without them, any class but the label.
        confidence: Margin, in logits, that an example must have.
        search_steps: Values of c that are tried: ten times as much until one succeeds, then by bisection;
            from 10 steps on the last repeats the least that succeeded.
        iterations: Of a descent.
        learning_rate: Adam's.
        initial_constant: The first c.
        abort_early: Whether samples leave a descent that is of no more use to them.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    require(confidence >= 0, "confidence", confidence, "give a margin in logits from 0 on")
    require(search_steps >= 1, "search_steps", search_steps, "give at least 1")
    require(iterations >= 1, "iterations", iterations, "give at least 1")
    require(learning_rate > 0, "learning_rate", learning_rate, "give a rate above 0")
    require(initial_constant > 0, "initial_constant", initial_constant, "give a constant above 0")
    oracle, rows = Oracle(model, images), all_rows(images)
    rows = rows[~succeeded(oracle.logits(images, rows), labels, targets)]
    fast = Oracle(in_fast_layout(model, images), images, counting=oracle)
    objective = _Objective(labels, targets, confidence)
    schedule = _Schedule(iterations, learning_rate, iterations // _LOOKS if abort_early else 0)
    best, search = _Best.begin(images), _Search.begin(rows, initial_constant)
    for step in range(search_steps if len(rows) else 0):
        if step == search_steps - 1 and search_steps >= 10:
            search = search.at_least_success()
        search = search.narrowed(_descend(fast, images, objective, search, schedule, best))
    taken = max(oracle.gradients.tolist(), default=0)
    return finish(oracle, images, labels, best.images, iterations=taken, targets=targets)


@dataclass(frozen=True)
class _Objective:
    """What an example must do: classes (B,) and the confidence."""

    labels: Tensor
    targets: Tensor | None
    confidence: float

    def missing(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return (n,), by how much the margin falls short of the confidence: below 0 where it doesn't."""
        targets = None if self.targets is None else self.targets[rows]
        return self.confidence - attack_loss("cw", self.labels[rows], targets)(logits)


@dataclass(frozen=True)
class _Schedule:
    """Of a descent; ``window`` iterations go by between looks at its progress, none where it is 0."""

    iterations: int
    learning_rate: float
    window: int


@dataclass(frozen=True)
class _Best:
    """The nearest examples so far: images (B, C, H, W), and squared distances (B,), infinite where none."""

    images: Tensor
    distances: Tensor

    @classmethod
    def begin(cls, images: Tensor) -> "_Best":
        return cls(images.clone(), torch.full((len(images),), torch.inf, device=images.device))


@dataclass(frozen=True)
class _Search(Samples):
    """The samples' constants, with bounds (n,): the largest that failed, the least that succeeded."""

    constant: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def begin(cls, rows: Tensor, constant: float) -> "_Search":
        constants = torch.full((len(rows),), constant, device=rows.device)
        return cls(rows, constants, torch.zeros_like(constants), torch.full_like(constants, torch.inf))

    def narrowed(self, succeeded: Tensor) -> "_Search":
        """Return the next constants, knowing of the last whether they succeeded (n,)."""
        upper = torch.where(succeeded, torch.minimum(self.upper, self.constant), self.upper)
        lower = torch.where(succeeded, self.lower, torch.maximum(self.lower, self.constant))
        constant = torch.where(upper.isinf(), self.constant * 10, (lower + upper) / 2)
        return replace(self, constant=constant, lower=lower, upper=upper)

    def at_least_success(self) -> "_Search":
        """Return the search back at the least constants that succeeded."""
        return replace(self, constant=torch.where(self.upper.isinf(), self.constant, self.upper))


@dataclass(frozen=True)
class _Descent(Samples):
    """Samples in a descent.

    Attributes:
        place: (n,) in the search.
        images: (n, C, H, W) originals.
        constant: (n,) c.
        variable: (n, C, H, W) w; the tensors from here on are written in place.
        mean: Adam's, of the gradients.
        square: Adam's, of their squares.
        loss: (n,) least in this window.
        loss_before: (n,) least in the windows before.
        missing: (n,) least of the margin that was missing in this window, from 0 on.
        missing_before: (n,) in the windows before.
        stalls: (n,) int64, looks in a row that found the descent of no more use.
        succeeded: (n,) bool, with this constant.
        distances: (n,) squared, of the nearest example.
        nearest: (n, C, H, W) that example.
    """

    place: Tensor
    images: Tensor
    constant: Tensor
    variable: Tensor
    mean: Tensor
    square: Tensor
    loss: Tensor
    loss_before: Tensor
    missing: Tensor
    missing_before: Tensor
    stalls: Tensor
    succeeded: Tensor
    distances: Tensor
    nearest: Tensor

    @classmethod
    def begin(cls, images: Tensor, search: _Search, best: _Best) -> "_Descent":
        originals, infinite = images[search.rows], torch.full_like(search.constant, torch.inf)
        return cls(
            rows=search.rows,
            place=all_rows(originals),
            images=originals,
            constant=search.constant,
            variable=((2 * originals - 1) * _WITHIN).atanh_(),
            mean=torch.zeros_like(originals),
            square=torch.zeros_like(originals),
            loss=infinite.clone(),
            loss_before=infinite,
            missing=infinite.clone(),
            missing_before=infinite,
            stalls=torch.zeros_like(search.rows),
            succeeded=torch.zeros_like(search.rows, dtype=torch.bool),
            distances=best.distances[search.rows],
            nearest=best.images[search.rows],
        )


def _descend(
    oracle: Oracle,
    images: Tensor,
    objective: _Objective,
    search: _Search,
    schedule: _Schedule,
    best: _Best,
) -> Tensor:
    """Descend with each sample's constant; writes nearer examples to ``best``, returns who succeeded (n,)."""
    found = torch.zeros(len(search), dtype=torch.bool, device=images.device)
    descent = _Descent.begin(images, search, best)
    for iteration in range(schedule.iterations):
        _iterate(oracle, objective, descent, iteration, schedule.learning_rate)
        if schedule.window and (iteration + 1) % schedule.window == 0:
            _record(descent, best, found)
            descent = _worthwhile(descent, (schedule.iterations - iteration - 1) // schedule.window)
            if len(descent) == 0:
                break
    _record(descent, best, found)
    return found


def _iterate(
    oracle: Oracle, objective: _Objective, descent: _Descent, iteration: int, learning_rate: float
) -> None:
    """Take one step of Adam, in place."""
    bent = descent.variable.tanh()
    current = (bent * (0.5 / _WITHIN) + 0.5).clamp_(0, 1)
    moved = current - descent.images
    distances = moved.flatten(1).square().sum(dim=1)

    def loss(logits: Tensor) -> Tensor:
        return descent.constant * objective.missing(logits, descent.rows).clamp_min(0)

    gradient, values, logits = oracle.gradient(current, loss, descent.rows)
    missing = objective.missing(logits, descent.rows)
    reached = missing < -_ROUNDING * logits.abs().amax(dim=1)
    nearer = reached & (distances < descent.distances)
    descent.succeeded.logical_or_(reached)
    descent.distances.copy_(torch.where(nearer, distances, descent.distances))
    descent.nearest.copy_(torch.where(per_sample(nearer, current), current, descent.nearest))
    torch.minimum(descent.loss, distances + values, out=descent.loss)
    torch.minimum(descent.missing, missing.clamp_min(0), out=descent.missing)
    # By w: the loss' by the pixels, times what the pixels are by w.
    gradient.add_(moved, alpha=2).mul_(bent.square_().neg_().add_(1).mul_(0.5 / _WITHIN))
    _adam(descent, gradient, iteration, learning_rate)
    descent.variable.clamp_(-math.atanh(_WITHIN), math.atanh(_WITHIN))


def _adam(descent: _Descent, gradient: Tensor, iteration: int, learning_rate: float) -> None:
    descent.mean.lerp_(gradient, 1 - _MEAN_DECAY)
    descent.square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
    mean_bias, square_bias = 1 - _MEAN_DECAY ** (iteration + 1), 1 - _SQUARE_DECAY ** (iteration + 1)
    scale = (descent.square / square_bias).sqrt_().add_(_TINY)
    descent.variable.addcdiv_(descent.mean, scale, value=-learning_rate / mean_bias)


def _record(descent: _Descent, best: _Best, found: Tensor) -> None:
    found[descent.place] = descent.succeeded
    best.distances[descent.rows] = descent.distances
    best.images[descent.rows] = descent.nearest


def _worthwhile(descent: _Descent, windows_left: int) -> _Descent:
    """Return the samples that go on, at the beginning of the next window."""
    falls = descent.loss < _PROGRESS * descent.loss_before
    pace = descent.missing_before - descent.missing
    arrives = descent.succeeded | (descent.missing <= _HASTE * windows_left * pace)
    stalls = torch.where(falls & arrives, 0, descent.stalls + 1)
    kept = replace(descent, stalls=stalls).of(stalls < _PATIENCE)
    infinite = torch.full_like(kept.loss, torch.inf)
    return replace(
        kept,
        loss_before=torch.minimum(kept.loss, kept.loss_before),
        loss=infinite,
        missing_before=torch.minimum(kept.missing, kept.missing_before),
        missing=infinite.clone(),
    )
