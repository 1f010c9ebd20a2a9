"""Fast adaptive boundary attack: Croce and Hein 2020, https://arxiv.org/abs/1907.02044, as their code has it.

It looks for the nearest adversarial image: each iteration goes to the boundary as it is linearised at the
iterate, drawn a little towards the original, and back from every adversarial image it meets.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.deepfool import likeliest_others
from ladder_core.attacks.fab_projections import project_on_plane
from ladder_core.attacks.fgsm import ascent_direction
from ladder_core.attacks.losses import logit_difference
from ladder_core.attacks.pairs import Pairs, first_of_each, several, siblings_of, single
from ladder_core.attacks.samples import all_rows, check_is_due
from ladder_core.attacks.streams import SampleStreams

_TOWARDS_ORIGINAL = 0.1  # alpha_max
_OVERSHOOT = 1.05  # eta
_BACK = 0.9  # beta
_START_RADIUS: dict[Norm, float] = {"linf": 0.3, "l2": 1.0}  # of the random starts, where no epsilon is given


def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator | SampleStreams,
    norm: Norm = "linf",
    epsilon: float | None = None,
    iterations: int = 100,
    restarts: int = 1,
    targets: Tensor | None = None,
) -> AttackResult:
    """Untargeted FAB, towards the boundary that is nearest at each iterate, or FAB towards given targets.

    Untargeted it takes a backward pass for every class at every iteration. An image that is misclassified
    as it is stays as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        generator: CPU stream of the random starts, or streams that the samples have already.
        norm: Of the distance that is made small.
        epsilon: Radius in pixels: samples leave as soon as they are broken within it, and what is not within
            it has failed. None looks for the least distance during all iterations.
        iterations: Steps per restart.
        restarts: The first starts from the image, others at random around it.
        targets: (B,) classes to be taken for; without them, any class but the label.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    settings = _Settings(norm, epsilon, iterations, restarts, targeted=targets is not None)
    search = _Search.begin(model, images, generator)
    remaining = (~succeeded(search.logits, labels, targets)).nonzero().squeeze(1)
    for restart in range(restarts):
        pairs = single(remaining, images, labels, targets, search.streams.branch(restart))
        remaining = _search_all(search, settings, [pairs], remaining, random=restart > 0)
    return search.finish(images, labels, settings, targets)


def fab_targeted(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator | SampleStreams,
    norm: Norm = "linf",
    epsilon: float | None = None,
    iterations: int = 100,
    restarts: int = 1,
    target_classes: int = 9,
) -> AttackResult:
    """FAB-T: towards each of the likeliest other classes; any misclassification counts.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        generator: CPU stream of the random starts, or streams that the samples have already.
        norm: Of the distance that is made small.
        epsilon: Radius in pixels, as in `fab`.
        iterations: Steps per target and restart.
        restarts: The first starts from the image, others at random around it.
        target_classes: How many classes are tried; no more than there are others.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels)
    settings = _Settings(norm, epsilon, iterations, restarts, targeted=False)
    require(target_classes >= 1, "target_classes", target_classes, "give at least 1")
    search = _Search.begin(model, images, generator)
    remaining = (~succeeded(search.logits, labels, None)).nonzero().squeeze(1)
    aims = likeliest_others(search.logits, labels, target_classes)
    for restart in range(restarts):
        parts = several(remaining, images, labels, aims, search.streams.branch(restart))
        remaining = _search_all(search, settings, parts, remaining, random=restart > 0)
    return search.finish(images, labels, settings, None)


@dataclass(frozen=True)
class _Settings:
    norm: Norm
    epsilon: float | None
    iterations: int
    restarts: int
    targeted: bool
    """Whether success is being taken for the aim, rather than not for the label."""

    def __post_init__(self) -> None:
        check_radius(0.0 if self.epsilon is None else self.epsilon)
        require(self.norm in ("linf", "l2"), "norm", repr(self.norm), "give 'linf' or 'l2'")
        require(self.iterations >= 1, "iterations", self.iterations, "give at least 1")
        require(self.restarts >= 1, "restarts", self.restarts, "give at least 1")

    def length(self, moved: Tensor) -> Tensor:
        """Return (n,) lengths of moves (n, ...)."""
        moved = moved.flatten(1)
        return moved.abs().amax(dim=1) if self.norm == "linf" else moved.norm(dim=1)

    def start(self, pairs: Pairs, *, random: bool) -> Tensor:
        """Return the originals, or points half the radius away from them."""
        if not random:
            return pairs.images
        shape, streams = pairs.images.shape[1:], SampleStreams(pairs.keys)
        radius = _START_RADIUS[self.norm] if self.epsilon is None else self.epsilon
        if self.norm == "linf":
            noise = 2 * streams.uniform(*shape) - 1
            noise /= per_sample(self.length(noise), noise).clamp_min(1e-12)
        else:
            noise = ascent_direction(streams.normal(*shape), "l2")
        return (pairs.images + 0.5 * radius * noise).clamp_(0, 1)


@dataclass(frozen=True)
class _Search:
    """What is known of every sample (B, ...): its nearest adversarial image, and how far that is."""

    oracle: Oracle
    streams: SampleStreams
    logits: Tensor
    nearest: Tensor
    distance: Tensor

    @classmethod
    def begin(cls, model: nn.Module, images: Tensor, generator: torch.Generator | SampleStreams) -> "_Search":
        oracle = Oracle(model, images)
        logits = oracle.logits(images, all_rows(images))
        streams = SampleStreams.begin(generator, len(images), images.device)
        distance = torch.full((len(images),), torch.inf, device=images.device)
        return cls(oracle, streams, logits, images.clone(), distance)

    def add(self, walk: "_Walk") -> None:
        """Keep what is nearer than all before."""
        self.distance.scatter_reduce_(0, walk.rows, walk.distance, "amin")
        nearest = walk.of(walk.distance.isfinite() & (walk.distance == self.distance[walk.rows]))
        nearest = nearest.of(first_of_each(nearest, len(self.distance)))
        self.nearest[nearest.rows] = nearest.nearest

    def finish(
        self, images: Tensor, labels: Tensor, settings: _Settings, targets: Tensor | None
    ) -> AttackResult:
        return finish(
            self.oracle,
            images,
            labels,
            self.nearest,
            iterations=settings.restarts * settings.iterations,
            targets=targets,
            norm=settings.norm,
            epsilon=settings.epsilon,
        )


@dataclass(frozen=True)
class _Walk(Pairs):
    """Pairs on their way: iterates (n, C, H, W), the nearest adversarial images, their distances (n,)."""

    current: Tensor
    nearest: Tensor
    distance: Tensor


def _search_all(
    search: _Search, settings: _Settings, parts: Iterable[Pairs], remaining: Tensor, *, random: bool
) -> Tensor:
    """Run each part, and return the rows (n,) that are not broken within the radius."""
    for pairs in parts:
        _walk(search, settings, pairs, random=random)
    if settings.epsilon is None:
        return remaining
    return remaining[search.distance[remaining] > settings.epsilon]


def _walk(search: _Search, settings: _Settings, pairs: Pairs, *, random: bool) -> None:
    if len(pairs) == 0:
        return
    start = settings.start(pairs, random=random)
    walk = _Walk(
        **{field.name: getattr(pairs, field.name) for field in fields(pairs)},
        current=start,
        nearest=pairs.images,
        distance=torch.full((len(pairs),), torch.inf, device=start.device),
    )
    for iteration in range(settings.iterations):
        walk = _meet(search.oracle, settings, walk, _step(search.oracle, settings, walk))
        if settings.epsilon is not None and check_is_due(iteration, start.device):
            broken = walk.distance <= settings.epsilon
            if broken.any():
                search.add(walk.of(broken))
                walk = walk.of(~siblings_of(broken, walk.rows, len(search.distance)))
                if len(walk) == 0:
                    return
    search.add(walk)


def _step(oracle: Oracle, settings: _Settings, walk: _Walk) -> Tensor:
    """Return the next iterates (Eq. 8): a mean of the projections of the iterate and of the original."""
    gap, normal = _plane(oracle, settings, walk)
    current, original, normal = walk.current.flatten(1), walk.images.flatten(1), normal.flatten(1)
    excess = torch.cat([gap, gap + (normal * (original - current)).sum(dim=1)])
    moves = project_on_plane(
        torch.cat([current, original]), torch.cat([normal, normal]), excess, settings.norm
    )
    of_current, of_original = moves.chunk(2)
    lengths = settings.length(moves).clamp_min(1e-8)[:, None]
    share = (lengths[: len(gap)] / (lengths[: len(gap)] + lengths[len(gap) :])).clamp_max(_TOWARDS_ORIGINAL)
    mean = (current + _OVERSHOOT * of_current) * (1 - share) + (original + _OVERSHOOT * of_original) * share
    return mean.clamp_(0, 1).reshape(walk.current.shape)


def _plane(oracle: Oracle, settings: _Settings, walk: _Walk) -> tuple[Tensor, Tensor]:
    """Return (n,) the aim's logit less the label's, and its gradient (n, C, H, W); NaN does not lead.

    Without aims it is of the class whose linearised boundary is nearest to the iterate (Eq. 7).
    """
    if walk.aims is not None:
        difference = logit_difference(walk.aims, walk.labels)
        gradient, gap, _ = oracle.gradient(walk.current, difference, walk.rows)
        return gap.nan_to_num(nan=0.0), gradient.nan_to_num(nan=0.0)

    def gaps_to_others(logits: Tensor) -> Tensor:
        count = logits.shape[1]
        shifts = torch.arange(1, count, device=logits.device)
        others = (walk.labels[:, None] + shifts) % count
        return logits.gather(1, others) - logits.gather(1, walk.labels[:, None])

    gradients, gaps, _ = oracle.several_gradients(walk.current, gaps_to_others, walk.rows)
    gradients, gaps = gradients.nan_to_num(nan=0.0), gaps.nan_to_num(nan=0.0)
    dual = gradients.flatten(2).norm(p=1 if settings.norm == "linf" else 2, dim=2)
    every, nearest = all_rows(gaps), (gaps.abs() / dual.clamp_min(1e-12)).argmin(dim=1)
    return gaps[every, nearest], gradients[every, nearest]


def _meet(oracle: Oracle, settings: _Settings, walk: _Walk, moved: Tensor) -> _Walk:
    """Evaluate the next iterates; keep the nearest adversarial ones, and go back from each."""
    logits = oracle.logits(moved, walk.rows)
    adversarial = succeeded(logits, walk.labels, walk.aims if settings.targeted else None)
    distance = settings.length(moved - walk.images)
    nearer = adversarial & (distance < walk.distance)
    back = walk.images + _BACK * (moved - walk.images)
    return replace(
        walk,
        current=torch.where(per_sample(adversarial, moved), back, moved),
        nearest=torch.where(per_sample(nearer, moved), moved, walk.nearest),
        distance=torch.where(nearer, distance, walk.distance),
    )
