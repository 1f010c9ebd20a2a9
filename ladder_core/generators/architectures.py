"""Networks from a latent of any size to an image of any size, values in [0, 1]."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

MLP_MAX_PIXELS = 3 * 32 * 32
_SMALLEST_SIDE = 4


class MlpGenerator(nn.Module):
    """A batch-norm multi-layer perceptron: on small images the fastest way to a low reconstruction error."""

    name = "multi-layer perceptron"

    def __init__(self, latent_dimension: int, image_shape: tuple[int, int, int], width: int = 1024) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.layers = nn.Sequential(
            nn.BatchNorm1d(latent_dimension),  # latents come on any scale
            nn.Linear(latent_dimension, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, math.prod(image_shape)),
            nn.Sigmoid(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (B, D) to images (B, C, H, W) in [0, 1]."""
        images: Tensor = self.layers(latents)
        return images.reshape(-1, *self.image_shape)


class ConvGenerator(nn.Module):
    """Transposed convolutions that double a small grid until it covers the image; the rest is cropped."""

    name = "convolutional"

    def __init__(
        self, latent_dimension: int, image_shape: tuple[int, int, int], widest: int = 256, narrowest: int = 32
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, height, width = image_shape
        doublings = max(0, math.floor(math.log2(max(min(height, width) / _SMALLEST_SIDE, 1))))
        grid = (math.ceil(height / 2**doublings), math.ceil(width / 2**doublings))
        features = widest
        layers: list[nn.Module] = [
            nn.BatchNorm1d(latent_dimension),
            nn.Linear(latent_dimension, features * math.prod(grid), bias=False),
            nn.Unflatten(1, (features, *grid)),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
        ]
        for _ in range(doublings):
            narrower = max(features // 2, narrowest)
            layers += [
                nn.ConvTranspose2d(features, narrower, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(narrower),
                nn.ReLU(inplace=True),
            ]
            features = narrower
        self.layers = nn.Sequential(*layers, nn.Conv2d(features, channels, 3, padding=1), nn.Sigmoid())

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (B, D) to images (B, C, H, W) in [0, 1]."""
        _, height, width = self.image_shape
        images: Tensor = self.layers(latents)
        return images[:, :, :height, :width]


def build_generator(
    architecture: Literal["auto", "mlp", "conv"], latent_dimension: int, image_shape: tuple[int, int, int]
) -> MlpGenerator | ConvGenerator:
    """Return an untrained generator, initialised from torch's current random stream."""
    if architecture == "auto":
        architecture = "mlp" if math.prod(image_shape) <= MLP_MAX_PIXELS else "conv"
    if architecture == "mlp":
        return MlpGenerator(latent_dimension, image_shape)
    return ConvGenerator(latent_dimension, image_shape)


def count_parameters(module: nn.Module) -> int:
    """Return the number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def reconstruction_error(images: Tensor, reconstructions: Tensor, norm: Literal["l1", "l2"]) -> Tensor:
    """Eq. 4's error, per pixel: the mean of |x - G(z)|^p."""
    if norm == "l1":
        return torch.nn.functional.l1_loss(reconstructions, images)
    return torch.nn.functional.mse_loss(reconstructions, images)
