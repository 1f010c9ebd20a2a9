"""Blur: Hendrycks and Dietterich 2019, section 4.1 and appendix."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ladder_core.attacks.streams import SampleStreams

Edge = Literal["nearest", "reflect"]
_LARGEST_ANGLE = math.pi / 4


def gaussian_blur(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Blur with a Gaussian of standard deviation ``constants[0]`` pixels, cut at four of them."""
    (deviation,) = constants
    kernel = _gaussian(deviation, int(4 * deviation + 0.5))
    rows = _convolve(images, kernel[:, None], "nearest")
    return _convolve(rows, kernel[None], "nearest")


def defocus_blur(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Blur with a disk of radius ``constants[0]`` pixels: a lens out of focus.

    ``constants[1]``: standard deviation of the Gaussian that smooths the disk's edge.
    """
    radius, smoothing = constants
    return _convolve(images, _disk(radius, smoothing), "reflect")


def motion_blur(images: Tensor, constants: tuple[float, ...], streams: SampleStreams) -> Tensor:
    """Blur along a line at an angle of a sample's own, within 45 degrees of the horizontal.

    As ImageMagick does it: from each pixel on, to one side, weights fall like a Gaussian's of standard
    deviation ``constants[1]`` over ``2 * constants[0] + 1`` pixels.
    """
    radius, deviation = constants
    angle = (2 * streams.uniform().double() - 1) * _LARGEST_ANGLE
    _, channels, height, width = images.shape
    weights = _gaussian(deviation, 2 * int(radius))[2 * int(radius) :]
    weights = weights / weights.sum()
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    blurred, flat = torch.zeros_like(images), images.flatten(2)
    for distance, weight in enumerate(weights.tolist()):
        down = (distance * angle.sin() - 0.5).ceil().long()[:, None]
        right = (distance * angle.cos() - 0.5).ceil().long()[:, None]
        row, column = (rows + down).clamp(0, height - 1), (columns + right).clamp(0, width - 1)
        places = (row[:, :, None] * width + column[:, None]).flatten(1)[:, None]
        blurred += weight * flat.gather(2, places.expand(-1, channels, -1)).reshape(images.shape)
    return blurred


def _gaussian(deviation: float, radius: int) -> Tensor:
    """Return a normalised Gaussian (2 * radius + 1,), float64."""
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (places / deviation) ** 2)
    return kernel / kernel.sum()


def _disk(radius: float, smoothing: float) -> Tensor:
    """Return a normalised disk (side, side) with a smoothed edge, float64."""
    edge = 1 if radius <= 8 else 2
    # Where the authors' array ends at the disk's edge, their smoothing reflects what is beyond.
    half = min(math.ceil(radius) + 2 * edge, 8) if radius <= 8 else int(radius)
    places = torch.arange(-half, half + 1, dtype=torch.float64)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).double()
    kernel = _gaussian(smoothing, edge)
    smooth = _convolve((disk / disk.sum())[None, None], kernel[:, None], "reflect")
    return _convolve(smooth, kernel[None], "reflect")[0, 0]


def _convolve(images: Tensor, kernel: Tensor, edge: Edge) -> Tensor:
    """Convolve each channel of images (B, C, H, W) with a symmetric kernel of odd sides."""
    batch, channels, height, width = images.shape
    down, right = (side // 2 for side in kernel.shape)
    rows = _places(height, down, edge).to(images.device)
    columns = _places(width, right, edge).to(images.device)
    padded = images.index_select(2, rows).index_select(3, columns)
    planes = padded.reshape(batch * channels, 1, *padded.shape[2:])
    return functional.conv2d(planes, kernel[None, None].to(images)).reshape(images.shape)


def _places(size: int, margin: int, edge: Edge) -> Tensor:
    """Return which pixels a line of ``size`` has from ``-margin`` to ``size + margin``, at any margin."""
    places = torch.arange(-margin, size + margin)
    if edge == "nearest" or size == 1:
        return places.clamp(0, size - 1)
    period = 2 * (size - 1)
    places = places.remainder(period)
    return torch.minimum(places, period - places)
