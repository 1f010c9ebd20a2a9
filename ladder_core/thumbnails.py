"""Images small enough to look at, as raw pixels."""

import base64
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ladder_schema.report import Thumbnail


def to_uint8(images: Tensor) -> npt.NDArray[Any]:
    """Return images (n, C, H, W) in [0, 1] as (n, H, W, C) uint8, rounded."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def thumbnails(images: Tensor, side: int) -> tuple[Thumbnail, ...]:
    """Return images (n, C, H, W) in [0, 1], none larger than a side in pixels."""
    pixels = to_uint8(functional.interpolate(images, small_shape(images, side), mode="area"))
    _, height, width, channels = pixels.shape
    return tuple(
        Thumbnail.model_validate(
            {
                "height": height,
                "width": width,
                "channels": channels,
                "pixels": base64.b64encode(image.tobytes()),
            }
        )
        for image in pixels
    )


def small_shape(images: Tensor, side: int) -> tuple[int, int]:
    """Return the height and width at which images (n, C, H, W) are no larger than a side."""
    height, width = images.shape[2:]
    largest = max(height, width, side)
    return max(1, height * side // largest), max(1, width * side // largest)


def affordable(images: Tensor, side: int, budget: int) -> int:
    """Return how many thumbnails of images (n, C, H, W) fit into a number of bytes."""
    height, width = small_shape(images, side)
    return budget // (height * width * images.shape[1])
