"""What the upload expects of its input, as a differentiable module in front of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from ladder_schema.config import Preprocessing


class Preprocess(nn.Module):
    """Map pixels in [0, 1] to what the upload was trained on; gradients flow through.

    In order: resize (bilinear, antialiased), value range, channel order, then ``(x - mean) / std``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.size = preprocessing.resize
        self.low, self.high = preprocessing.value_range
        self.flips_channels = preprocessing.channel_order == "bgr"
        self.normalises = preprocessing.mean is not None or preprocessing.std is not None
        mean, std = preprocessing.mean or (0.0,), preprocessing.std or (1.0,)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels (N, C, H, W) in [0, 1] to the upload's input."""
        x = pixels
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False, antialias=True)
        if (self.low, self.high) != (0.0, 1.0):
            x = x * (self.high - self.low) + self.low
        if self.flips_channels:
            x = x.flip(1)
        if self.normalises:
            x = (x - self.mean) / self.std
        return x
