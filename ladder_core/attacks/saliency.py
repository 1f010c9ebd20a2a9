"""The saliency map of pairs (Papernot et al. 2016, Eq. 8 and 9, Algorithm 3), without looking at all pairs.

For elements p and q of an image, with alpha the target's gradient and beta less the sum of the others', the
map is ``(alpha_p + alpha_q) * (beta_p + beta_q)`` where both factors are above 0, else 0. It grows with the
alpha and beta of either element. So where an element is surpassed in both by two others, one of the two can
take its place in any pair: the best pair is of elements that fewer than two surpass, which are in the first
two layers of the Pareto front, a few of thousands.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Values that are compared at a time, so that memory is bounded for wide fronts too.
_PAIRS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Front:
    """The elements that the best pair of each sample is of.

    Attributes:
        alpha: (n, E) by element.
        beta: (n, E).
        members: (n, E) bool, in the front.
        sizes: (n,) int64, how many are.
    """

    alpha: Tensor
    beta: Tensor
    members: Tensor
    sizes: Tensor

    def width(self) -> int:
        """Return the size of the largest front, at least 2; waits for the device."""
        return max(int(self.sizes.max()), 2)


def front_of(alpha: Tensor, beta: Tensor, free: Tensor) -> Front:
    """Return the front of each sample.

    Args:
        alpha: (n, E).
        beta: (n, E).
        free: (n, E) bool, elements that may be changed.
    """
    alpha, beta = alpha.masked_fill(~free, -torch.inf), beta.masked_fill(~free, -torch.inf)
    # By alpha, then beta, then place, as the whole map's first maximum would be found.
    order = beta.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, alpha.gather(1, order).argsort(dim=1, descending=True, stable=True))
    ranked = beta.gather(1, order)
    first = _surpasses_all_before(ranked)
    second = _surpasses_all_before(ranked.masked_fill(first, -torch.inf))
    members = torch.zeros_like(free).scatter_(1, order, first | second)
    return Front(alpha, beta, members, members.sum(dim=1))


def _surpasses_all_before(values: Tensor) -> Tensor:
    """Return (n, E) bool: the value is above all of its row that come before it, and above -inf."""
    most = values.cummax(dim=1).values
    before = torch.cat([torch.full_like(most[:, :1], -torch.inf), most[:, :-1]], dim=1)
    return values > before


def best_pairs(front: Front, width: int) -> tuple[Tensor, Tensor]:
    """Return the elements (n, 2) of the most salient pairs, and whether there is one at all (n,).

    Of equally salient pairs it is the first, by the smaller place and then the larger.

    Args:
        front: Of each sample; of one that is larger than the width the answer is void.
        width: Elements of the front that are looked at, from 2 on.
    """
    places = torch.arange(front.alpha.shape[1], device=front.alpha.device)
    keys = torch.where(front.members, places, len(places))
    chosen = keys.topk(min(width, len(places)), dim=1, largest=False, sorted=True).values
    inside, chosen = chosen < len(places), chosen.clamp_max(len(places) - 1)
    alpha = front.alpha.gather(1, chosen).masked_fill(~inside, -torch.inf)
    beta = front.beta.gather(1, chosen).masked_fill(~inside, -torch.inf)
    rows = max(1, _PAIRS_AT_ONCE // chosen.shape[1] ** 2)
    parts = zip(torch.split(alpha, rows), torch.split(beta, rows), strict=True)
    found = [_most_salient(*part) for part in parts]
    first, second, most = (torch.cat(values) for values in zip(*found, strict=True))
    return torch.stack([_at(chosen, first), _at(chosen, second)], dim=1), most > 0


def _most_salient(alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places (n,) of the best pair among (n, W) elements, smaller first, and its saliency."""
    width = alpha.shape[1]
    toward = alpha[:, :, None] + alpha[:, None]
    against = beta[:, :, None] + beta[:, None]
    above = torch.ones(width, width, dtype=torch.bool, device=alpha.device).triu(1)
    valid = (toward > 0) & (against > 0) & above
    most, place = (toward * against).masked_fill(~valid, 0).flatten(1).max(dim=1)
    return place // width, place % width, most


def _at(chosen: Tensor, places: Tensor) -> Tensor:
    return chosen.gather(1, places[:, None]).squeeze(1)
