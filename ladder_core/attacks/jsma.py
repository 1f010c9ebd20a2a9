"""Jacobian-based saliency map attack: Papernot et al. 2016, https://arxiv.org/abs/1511.07528, Algorithm 3."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ladder_core.attacks.arguments import check_batch, require
from ladder_core.attacks.base import AttackResult, Oracle, finish, per_sample, succeeded
from ladder_core.attacks.deepfool import likeliest_others
from ladder_core.attacks.layout import in_fast_layout
from ladder_core.attacks.saliency import Front, best_pairs, front_of
from ladder_core.attacks.samples import Samples, all_rows, check_is_due

# An element that cannot change by more than this is at its end.
_ROOM = 0.01


def jsma(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    theta: float = 1.0,
    gamma: float = 0.1,
    top_k: int = 10,
) -> AttackResult:
    """Change two elements at a time, those whose pair is the most salient for a target class.

    A target is approached until the model takes the image for it or, without targets, for any class but the
    label; no pair may be left, or none be allowed. An image that is misclassified as it is (taken for its
    target) is returned as it is.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (B, C, H, W) float32 in [0, 1].
        labels: (B,) true classes.
        targets: (B,) classes to be taken for; without them the likeliest others are tried in turn.
        theta: Change of an element in a step, in pixels: above 0 elements are increased, below 0 decreased.
        gamma: Largest share of the elements that is changed.
        top_k: Without targets, as many of the likeliest classes are tried, less the label's own.

    Raises:
        ValueError: A parameter is out of its range.
    """
    check_batch(images, labels, targets)
    require(0 < abs(theta) <= 1, "theta", theta, "give a change from -1 to 1 other than 0")
    require(0 < gamma <= 1, "gamma", gamma, "give a share above 0, up to 1")
    require(top_k >= 2, "top_k", top_k, "give at least 2")
    budget = int(gamma * images[0].numel() / 2) if len(images) else 0
    oracle, rows, found = Oracle(model, images), all_rows(images), images.clone()
    fast, logits = Oracle(in_fast_layout(model, images), images, counting=oracle), oracle.logits(images, rows)
    aims = likeliest_others(logits, labels, top_k - 1) if targets is None else targets[:, None]
    for aim in aims.unbind(dim=1):
        rows = rows[~succeeded(logits, labels[rows], None if targets is None else targets[rows])]
        if len(rows) == 0 or budget == 0:
            break
        _approach(fast, _Changing.begin(rows, images, labels, targets, aim), theta, budget, found)
        logits = oracle.logits(found[rows], rows)
    taken = int(oracle.gradients.max()) // 2 if len(images) else 0
    return finish(oracle, images, labels, found, iterations=taken, targets=targets)


@dataclass(frozen=True)
class _Changing(Samples):
    """Samples under attack.

    Attributes:
        labels: (n,) true classes.
        targets: (n,) classes that end the attack; None where any but the label does.
        aims: (n,) classes whose saliency leads.
        current: (n, C, H, W) iterates.
        steps: (n,) int64, pairs changed.
        goes_on: (n,) bool.
    """

    labels: Tensor
    targets: Tensor | None
    aims: Tensor
    current: Tensor
    steps: Tensor
    goes_on: Tensor

    @classmethod
    def begin(
        cls, rows: Tensor, images: Tensor, labels: Tensor, targets: Tensor | None, aims: Tensor
    ) -> "_Changing":
        """Take the given rows of a batch, unchanged."""
        return cls(
            rows=rows,
            labels=labels[rows],
            targets=None if targets is None else targets[rows],
            aims=aims[rows],
            current=images[rows],
            steps=torch.zeros_like(rows),
            goes_on=torch.ones_like(rows, dtype=torch.bool),
        )


def _approach(oracle: Oracle, changing: _Changing, theta: float, budget: int, found: Tensor) -> None:
    """Change pairs until every sample is done; writes the last iterates to ``found``.

    How wide the fronts are is asked for now and then only, as is who is done; a sample whose front has
    outgrown the width since waits, unchanged, until it is asked for again.
    """
    iteration, width = 0, 0
    while len(changing):
        front, over = _look(oracle, changing, theta)
        if width == 0 or check_is_due(iteration, found.device):
            width = front.width()
        changing = _change(replace(changing, goes_on=changing.goes_on & ~over), front, width, theta, budget)
        if check_is_due(iteration, found.device) and not changing.goes_on.all():
            found[changing.rows] = changing.current
            changing = changing.of(changing.goes_on)
        iteration += 1


def _look(oracle: Oracle, changing: _Changing, theta: float) -> tuple[Front, Tensor]:
    """Return the elements that the best pair is of, and who has arrived (n,)."""

    def aim_and_others(logits: Tensor) -> Tensor:
        aim = logits.gather(1, changing.aims[:, None])
        return torch.cat([aim, logits.sum(dim=1, keepdim=True) - aim], dim=1)

    gradients, _, logits = oracle.several_gradients(changing.current, aim_and_others, changing.rows)
    toward, others = gradients.flatten(2).unbind(dim=1)
    pixels, sign = changing.current.flatten(1), 1 if theta > 0 else -1
    free = pixels < 1 - _ROOM if theta > 0 else pixels > _ROOM
    return front_of(sign * toward, -sign * others, free), succeeded(logits, changing.labels, changing.targets)


def _change(changing: _Changing, front: Front, width: int, theta: float, budget: int) -> _Changing:
    """Change the best pair of each sample that goes on and whose front is within the width."""
    pairs, exists = best_pairs(front, width)
    waits = front.sizes > width
    goes_on = changing.goes_on & (exists | waits)
    moves = goes_on & ~waits
    change = torch.zeros_like(front.alpha).scatter_(1, pairs, theta)
    changed = (changing.current + change.reshape(changing.current.shape)).clamp_(0, 1)
    steps = changing.steps + moves
    current = torch.where(per_sample(moves, changed), changed, changing.current)
    return replace(changing, current=current, steps=steps, goes_on=goes_on & (steps < budget))
