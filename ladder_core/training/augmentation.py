"""Random crops and flips of a batch's clean images, each image's own, on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ladder_core.attacks.streams import SampleStreams


@dataclass(frozen=True)
class Augmentation:
    """What is done to each image.

    torchvision's transforms draw once for a whole batch; here every image is moved by its own.

    Attributes:
        crop_padding: Pixels of zeros around the image, of which a window of its own size is kept.
        flip: Mirror half of the images left to right.
    """

    crop_padding: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return images (B, C, H, W) augmented; ``generator`` is a CPU stream."""
        streams = SampleStreams.begin(generator, len(images), images.device)
        if self.crop_padding:
            images = _shift(images, self.crop_padding, streams.integers(2 * self.crop_padding + 1, 2))
        if self.flip:
            mirrored = streams.signs(1, 1, 1) > 0
            images = torch.where(mirrored, images.flip(3), images)
        return images


def _shift(images: Tensor, padding: int, corners: Tensor) -> Tensor:
    """Cut a window of the images' size out of the padded images, at each one's corner (B, 2)."""
    count, _, height, width = images.shape
    padded = functional.pad(images, [padding] * 4)
    rows = corners[:, 0, None] + torch.arange(height, device=images.device)
    columns = corners[:, 1, None] + torch.arange(width, device=images.device)
    samples = torch.arange(count, device=images.device)
    # Indexing puts the channels last; they are moved back without a copy.
    cut = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)
