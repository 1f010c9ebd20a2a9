"""What Square Attack proposes: Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049, section 3.

Sizes and signs are drawn as in AutoAttack's code, but for each sample on its own, as in the paper.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ladder_core.attacks.base import per_sample
from ladder_core.attacks.streams import SampleStreams

# From which iteration on the share of pixels in a window is divided by which power of 2.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_AHEAD = 6


def window_side(iteration: int, share: float, height: int, width: int, least: int) -> int:
    """Return the side of the square an iteration changes, of all pixels' first share of them."""
    share /= 2 ** sum(iteration > end for end in _HALVINGS)
    return min(max(round(math.sqrt(share * height * width)), least), height, width)


@lru_cache(maxsize=8)
def _sides(iterations: int, share: float, height: int, width: int) -> Tensor:
    """Return (iterations + 1,) the sides of all Linf windows, and 0 for those past the end."""
    return torch.tensor([window_side(number, share, height, width, 1) for number in range(iterations)] + [0])


@dataclass(frozen=True)
class Proposals:
    """What is asked next of n samples.

    Attributes:
        states: (n, C, H, W) perturbations, in the terms of the norm.
        steps: (n,) int64, iterations they take; more than one where iterations would change nothing.
        changed: (n,) bool; where not, the state is the one there was.
    """

    states: Tensor
    steps: Tensor
    changed: Tensor


@dataclass(frozen=True)
class LinfWindows:
    """Squares set to one end of the Linf ball, by channel.

    Every pixel is always at an end, so that a state is a (n, C, H, W) bool: at the upper. A window that is at
    its end already changes nothing: its answer is known, and the sample goes on to the next.
    """

    epsilon: float
    iterations: int
    share: float

    def start(self, images: Tensor, streams: SampleStreams) -> Tensor:
        """Draw vertical stripes."""
        channels, _, width = images.shape[1:]
        stripes = streams.uniform(channels, 1, width) < 0.5
        return stripes.expand(images.shape).contiguous()

    def images(self, originals: Tensor, states: Tensor) -> Tensor:
        """Return the images (n, C, H, W) in [0, 1] of states."""
        shift = torch.where(states, self.epsilon, -self.epsilon)
        return (originals + shift).clamp_(0, 1)

    def settled(self, states: Tensor, images: Tensor, originals: Tensor) -> Tensor:
        """Return states (n, C, H, W) as they are once their images were evaluated: the same."""
        del images, originals
        return states

    def kept(self, originals: Tensor, states: Tensor) -> Tensor:
        """Return the images (n, C, H, W) that settled states were evaluated as."""
        return self.images(originals, states)

    def calls_left(self, asked: int) -> int:
        """Return a bound on the calls still to come: samples take one to several iterations a call."""
        return max(1, self.iterations - asked)

    def draw(self, streams: SampleStreams, positions: Tensor, calls: int, shape: torch.Size) -> Tensor:
        """Draw (n, calls * ahead, 3 + C): top, left, side, signs of the iterations from positions (n,) on."""
        channels, height, width = shape
        numbers = positions[:, None] + torch.arange(calls * _AHEAD, device=positions.device)
        drawn = streams.uniform_at(numbers, 2 + channels)
        of_iterations = _sides(self.iterations, self.share, height, width).to(positions.device)
        sides = of_iterations[numbers.clamp_max(self.iterations)]
        top, left = drawn[:, :, 0] * (height - sides), drawn[:, :, 1] * (width - sides)
        return torch.cat(
            [torch.stack([top.floor(), left.floor(), sides], dim=2), (drawn[:, :, 2:] < 0.5).float()], dim=2
        )

    def propose(self, states: Tensor, table: Tensor, offsets: Tensor, asked: int) -> Proposals:
        """Find each sample's next window that changes something, among the next few.

        Args:
            states: (n, C, H, W) bool.
            table: As drawn.
            offsets: (n,) int64, iterations taken since.
            asked: Of no use here: samples go at their own pace.
        """
        del asked
        every = torch.arange(len(states), device=states.device)
        ahead = torch.arange(_AHEAD, device=states.device)
        windows = table[every[:, None], offsets[:, None] + ahead]
        inside, signs = _inside(windows, states.shape[2:]), windows[:, :, 3:] > 0.5
        differs = states[:, None] != signs[..., None, None]
        changes = (inside[:, :, None] & differs).flatten(2).any(dim=2)
        first, changed = changes.byte().argmax(dim=1), changes.any(dim=1)
        chosen = (inside[every, first] & per_sample(changed, inside[:, 0]))[:, None]
        proposed = torch.where(chosen, signs[every, first][..., None, None], states)
        return Proposals(proposed, torch.where(changed, first + 1, _AHEAD), changed)


def _inside(windows: Tensor, size: torch.Size) -> Tensor:
    """Return (n, m, H, W) bool of windows (n, m, 3 or more): which pixels are within."""
    top, left, side = (windows[:, :, part, None] for part in range(3))
    rows, columns = (torch.arange(length, device=windows.device) for length in size)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    return in_rows[..., None] & in_columns[..., None, :]


@dataclass(frozen=True)
class L2Windows:
    """Squares into which the length of another square is moved, in a pattern of two rising halves.

    A state is the perturbation (n, C, H, W); of it only the direction is used.
    """

    epsilon: float
    iterations: int
    share: float

    def start(self, images: Tensor, streams: SampleStreams) -> Tensor:
        """Draw a grid of patterns, about five a side."""
        channels, height, width = images.shape[1:]
        side = max(1, height // 5)
        begin = (height - 5 * side) // 2 if height >= 5 else 0
        state = torch.zeros_like(images)
        for top in range(begin, height - side + 1, side):
            for left in range(begin, width - side + 1, side):
                turned, signs = streams.uniform() < 0.5, streams.signs(channels, 1, 1)
                tile = _patterns(side, turned, images)[:, None] * signs
                state[:, :, top : top + side, left : left + side] = tile
        return state

    def images(self, originals: Tensor, states: Tensor) -> Tensor:
        """Return the images (n, C, H, W) in [0, 1] of states."""
        length = per_sample(states.flatten(1).norm(dim=1), states)
        return (originals + states * (self.epsilon / (length + 1e-12))).clamp_(0, 1)

    def settled(self, states: Tensor, images: Tensor, originals: Tensor) -> Tensor:
        """Return states (n, C, H, W) as they are once their images were cut to [0, 1]."""
        del states
        return images - originals

    def kept(self, originals: Tensor, states: Tensor) -> Tensor:
        """Return the images (n, C, H, W) that settled states were evaluated as."""
        return originals + states

    def calls_left(self, asked: int) -> int:
        """Return the calls still to come: every sample takes an iteration a call."""
        return self.iterations - asked

    def draw(self, streams: SampleStreams, positions: Tensor, calls: int, shape: torch.Size) -> Tensor:
        """Draw (n, calls, 5 + C) from [0, 1): two windows' tops and lefts, a turn, and signs."""
        numbers = positions[:, None] + torch.arange(calls, device=positions.device)
        return streams.uniform_at(numbers, 5 + shape[0])

    def propose(self, states: Tensor, table: Tensor, offsets: Tensor, asked: int) -> Proposals:
        """Move the length of one window into another.

        Args:
            states: (n, C, H, W) perturbations of images in [0, 1].
            table: As drawn.
            offsets: (n,) int64, the same for all: iterations taken since.
            asked: Iterations taken altogether, by which windows shrink.
        """
        side = self._side(asked, states.shape)
        drawn = table.gather(1, offsets[:, None, None].expand(-1, 1, table.shape[2])).squeeze(1)
        filled = _window(drawn[:, 0], drawn[:, 1], side, states.shape)
        emptied = _window(drawn[:, 2], drawn[:, 3], side, states.shape)
        flat = states.flatten(2)
        rest = flat.scatter(2, emptied, 0.0).scatter(2, filled, 0.0)
        freed = (flat - rest).square().sum(dim=2, keepdim=True)
        unused = (self.epsilon**2 - flat.square().sum(dim=(1, 2), keepdim=True)).clamp_min(0)
        old = flat.gather(2, filled)
        signs = torch.where(drawn[:, 5:] < 0.5, -1.0, 1.0)[..., None]
        new = _patterns(side, drawn[:, 4] < 0.5, states).flatten(1)[:, None] * signs
        new = new + old / (old.norm(dim=2, keepdim=True) + 1e-12)
        length = (unused / states.shape[1] + freed).sqrt()
        new = new * (length / (new.norm(dim=2, keepdim=True) + 1e-12))
        proposed = rest.scatter(2, filled, new).reshape(states.shape)
        return Proposals(proposed, torch.ones_like(offsets), torch.ones_like(offsets, dtype=torch.bool))

    def _side(self, iteration: int, shape: torch.Size) -> int:
        height, width = shape[2:]
        side = window_side(iteration, self.share, height, width, 3)
        return min(side + (side + 1) % 2, height, width)


def _window(top: Tensor, left: Tensor, side: int, shape: torch.Size) -> Tensor:
    """Return (n, C, side * side) the places, in a flat image, of windows drawn from [0, 1)."""
    count, channels, height, width = shape
    along = torch.arange(side, device=top.device)
    rows = (top * (height - side)).long()[:, None] + along
    columns = (left * (width - side)).long()[:, None] + along
    places = (rows[:, :, None] * width + columns[:, None]).flatten(1)
    return places[:, None].expand(count, channels, -1)


def _patterns(side: int, turned: Tensor, like: Tensor) -> Tensor:
    """Return (n, side, side) patterns of length 1 (Eq. 2): a hill over a valley or, turned, beside it."""
    pattern = _pattern(side).to(like)
    return torch.where(turned[:, None, None], pattern.T, pattern)


@lru_cache(maxsize=64)
def _pattern(side: int) -> Tensor:
    pattern = torch.zeros(side, side)
    half = side // 2
    if half:
        pattern[:half] = _hill(half, side)
    pattern[half:] = -_hill(side - half, side)
    length: Tensor = pattern.norm()
    return pattern / length


def _hill(height: int, width: int) -> Tensor:
    """Return (height, width) of length 1: rectangles around the middle, the wider the fainter."""
    hill: Tensor = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for ring in range(max(top, left) + 1):
        rows = slice(max(top - ring, 0), max(top + ring + 1, 0))
        columns = slice(max(left - ring, 0), max(left + ring + 1, 0))
        hill[rows, columns] += 1 / (ring + 1) ** 2
    length: Tensor = hill.norm()
    return hill / length
