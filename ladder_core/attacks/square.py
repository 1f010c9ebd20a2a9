"""Square Attack: Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049: random search, no gradients.

Each iteration changes one window of a sample, and keeps the change if it raises the margin.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, check_radius, require
from ladder_core.attacks.base import AttackResult, Norm, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.losses import attack_loss
from ladder_core.attacks.samples import Samples, all_rows
from ladder_core.attacks.square_windows import L2Windows, LinfWindows
from ladder_core.attacks.streams import SampleStreams


def _calls(device: torch.device) -> int:
    """Return how many calls of the model lie between two looks at who is done: a look waits for a GPU."""
    return 6 if device.type == "cpu" else 25


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    generator: torch.Generator | SampleStreams,
    norm: Norm = "linf",
    iterations: int = 5000,
    restarts: int = 1,
    share: float = 0.8,
    targets: Tensor | None = None,
) -> AttackResult:
    """Square Attack on the margin, with AutoAttack's schedule; an image misclassified as it is stays.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode; no gradients are asked for.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        epsilon: Radius in pixels.
        generator: CPU stream of the windows, or streams that the samples have already.
        norm: Of the ball.
        iterations: Windows tried per restart; the model is not asked about one that changes nothing.
        restarts: Random starts; samples already broken are not tried again.
        share: Of the pixels, in the first windows (p of the paper).
        targets: (B,) classes to be taken for; without them, any class but the label.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    check_radius(epsilon)
    require(norm in ("linf", "l2"), "norm", repr(norm), "give 'linf' or 'l2'")
    require(iterations >= 1, "iterations", iterations, "give at least 1")
    require(restarts >= 1, "restarts", restarts, "give at least 1")
    require(0 < share <= 1, "share", share, "give a part of the pixels, above 0 and up to 1")
    windows = (LinfWindows if norm == "linf" else L2Windows)(epsilon, iterations, share)
    oracle, streams = Oracle(model, images), SampleStreams.begin(generator, len(images), images.device)
    logits, found = oracle.logits(images, all_rows(images)), images.clone()
    remaining = (~succeeded(logits, labels, targets)).nonzero().squeeze(1)
    for restart in range(restarts):
        branch = streams.branch(restart).of(remaining)
        aims = None if targets is None else targets[remaining]
        search = _begin(oracle, windows, remaining, images[remaining], labels[remaining], aims, branch)
        remaining = _search(oracle, windows, search, found)
    taken = restarts * iterations
    return finish(
        oracle, images, labels, found, iterations=taken, targets=targets, norm=norm, epsilon=epsilon
    )


@dataclass(frozen=True)
class _Search(Samples):
    """Samples (n, ...) under attack: how they are perturbed, with what margin, after how many windows."""

    images: Tensor
    labels: Tensor
    aims: Tensor | None
    keys: Tensor
    states: Tensor
    margins: Tensor
    positions: Tensor
    broken: Tensor


def _begin(
    oracle: Oracle,
    windows: LinfWindows | L2Windows,
    rows: Tensor,
    images: Tensor,
    labels: Tensor,
    aims: Tensor | None,
    streams: SampleStreams,
) -> _Search:
    states = windows.start(images, streams.branch(0))
    candidates = windows.images(images, states)
    logits = oracle.logits(candidates, rows)
    margins = attack_loss("cw", labels, aims)(logits)
    broken = succeeded(logits, labels, aims)
    keys, positions = streams.branch(1).keys, torch.zeros_like(rows)
    return _Search(
        rows,
        images,
        labels,
        aims,
        keys,
        windows.settled(states, candidates, images),
        margins,
        positions,
        broken,
    )


def _search(oracle: Oracle, windows: LinfWindows | L2Windows, search: _Search, found: Tensor) -> Tensor:
    """Try windows on what is not broken yet; writes the images found, returns the rows not broken (n,)."""
    asked, unbroken = 0, []
    while True:
        found[search.rows] = windows.kept(search.images, search.states)
        done = search.positions >= windows.iterations
        unbroken.append(search.rows[done & ~search.broken])
        search = search.of(~(done | search.broken))
        if len(search) == 0:
            return torch.cat(unbroken)
        streams, begin = SampleStreams(search.keys), search.positions
        calls = min(_calls(found.device), windows.calls_left(asked))
        table = windows.draw(streams, begin, calls, search.images.shape[1:])
        for _ in range(calls):
            search = _try(oracle, windows, search, table, begin, asked)
            asked += 1


def _try(
    oracle: Oracle,
    windows: LinfWindows | L2Windows,
    search: _Search,
    table: Tensor,
    begin: Tensor,
    asked: int,
) -> _Search:
    """Ask the model about one window of each sample."""
    proposals = windows.propose(search.states, table, search.positions - begin, asked)
    candidates = windows.images(search.images, proposals.states)
    logits = oracle.logits(candidates, search.rows)
    margins = attack_loss("cw", search.labels, search.aims)(logits)
    broken = succeeded(logits, search.labels, search.aims) & proposals.changed
    better = ((margins > search.margins) | broken) & proposals.changed & ~search.broken
    states = windows.settled(proposals.states, candidates, search.images)
    return replace(
        search,
        states=torch.where(per_sample(better, states), states, search.states),
        margins=torch.where(better, margins, search.margins),
        positions=search.positions + proposals.steps,
        broken=search.broken | broken,
    )
