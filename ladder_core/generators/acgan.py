"""A class-conditional GAN whose critic also classifies: AC-GAN with the loss of WGAN-GP.

Song et al. 2018 (https://arxiv.org/abs/1805.07894) search the latent space of this one; AC-GAN is of Odena
et al. 2017 (https://arxiv.org/abs/1610.09585), the loss of Gulrajani et al. 2017
(https://arxiv.org/abs/1704.00028). Song et al. trained residual networks for 50 epochs on a GPU, five turns
of the critic to one of the generator. A CPU gets there in minutes with what differs here: strided
convolutions, none at full resolution; fewer turns of the critic; a number of turns, and not of epochs, so
that a large dataset takes no longer; and a gradient penalty that may be taken at every k-th turn only, with
k times the weight (as in Karras et al. 2020, https://arxiv.org/abs/1912.04958, Section 3.1).
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST_SIDE = 4
_LEAK = 0.2


@dataclass(frozen=True)
class AcGanSettings:
    """How an AC-GAN is built and trained.

    Attributes:
        code_dimension: Of the codes z ~ N(0, I).
        width: Channels at half the image's resolution; they double at each further halving, up to ``widest``.
        widest: Most channels.
        rounds: Of turns of the critic and one of the generator; 2,000 are two epochs of MNIST for the critic,
            and three to four minutes on one core. Song et al.: 50 epochs.
        critic_turns: In a round. Song et al.: 5.
        batch_size: Images in a turn.
        learning_rate: Of Adam with betas (0, 0.9); falls linearly to 0.
        penalty: Weight of the gradient penalty.
        penalty_every: The penalty is taken at every k-th turn of the critic only, with k times the weight.
        class_weight: Weight of the auxiliary classifier's cross-entropy, for either player.
    """

    code_dimension: int = 128
    width: int = 32
    widest: int = 256
    rounds: int = 2000
    critic_turns: int = 1
    batch_size: int = 64
    learning_rate: float = 5e-4
    penalty: float = 10.0
    penalty_every: int = 2
    class_weight: float = 1.0

    @property
    def turns(self) -> int:
        """Turns of either player in the whole training."""
        return self.rounds * (self.critic_turns + 1)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are the class' own (Dumoulin et al. 2017)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.scale = nn.Parameter(torch.ones(classes, features))
        self.shift = nn.Parameter(torch.zeros(classes, features))

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Normalise maps (B, F, H, W) of classes (B,)."""
        normalised: Tensor = self.norm(maps)
        return torch.addcmul(
            self.shift[labels][:, :, None, None], normalised, self.scale[labels][:, :, None, None]
        )


class ConditionalGenerator(nn.Module):
    """From a code and a class to an image: doubles a grid until it covers the image; the rest is cropped."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, settings: AcGanSettings) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape, self.classes = image_shape, classes
        doublings = _halvings(image_shape)
        grid = (math.ceil(height / 2**doublings), math.ceil(width / 2**doublings))
        features = _features(settings, doublings)
        self.start = nn.Sequential(
            nn.Linear(settings.code_dimension + classes, features[-1] * math.prod(grid)),
            nn.Unflatten(1, (features[-1], *grid)),
        )
        self.norms = nn.ModuleList(ConditionalBatchNorm(count, classes) for count in reversed(features))
        widths = [*reversed(features), channels]
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1)
            for wide, narrow in itertools.pairwise(widths)
        )

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Map codes (B, Z) and classes (B,) to images (B, C, H, W) in [0, 1]."""
        _, height, width = self.image_shape
        one_hot = functional.one_hot(labels, self.classes).to(codes.dtype)
        maps = self.start(torch.cat([codes, one_hot], dim=1))
        for norm, double in zip(self.norms, self.doublings, strict=True):
            maps = double(functional.relu(norm(maps, labels)))
        images: Tensor = maps[:, :, :height, :width]
        return images.sigmoid()


class Critic(nn.Module):
    """From an image to how real it looks, and to its class; no norms, as the penalty is a sample's own."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, settings: AcGanSettings) -> None:
        super().__init__()
        channels, height, width = image_shape
        halvings = _halvings(image_shape)
        features = _features(settings, halvings)
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise([channels, *features]):
            layers += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.LeakyReLU(_LEAK)]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        size = features[-1] * (height >> halvings) * (width >> halvings)
        self.realness = nn.Linear(size, 1, bias=False)  # the loss is of differences
        self.auxiliary = nn.Linear(size, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, C, H, W) to scores (B,), higher where more real, and class logits (B, K)."""
        features = self.trunk(images)
        return self.realness(features).squeeze(1), self.auxiliary(features)


class AcGan(nn.Module):
    """Both players.

    Attributes:
        settings: It was built with.
        classes: How many it tells apart.
        image_shape: Channels, height, width.
        generator: From codes and classes to images.
        critic: From images to how real they look, and their classes.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, settings: AcGanSettings) -> None:
        super().__init__()
        self.settings, self.classes, self.image_shape = settings, classes, image_shape
        self.generator = ConditionalGenerator(image_shape, classes, settings)
        self.critic = Critic(image_shape, classes, settings)

    @property
    def code_dimension(self) -> int:
        """Size of a code z."""
        return self.settings.code_dimension

    def generate(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [0, 1] of codes (B, Z) and classes (B,)."""
        images: Tensor = self.generator(codes, labels)
        return images

    def classify(self, images: Tensor) -> Tensor:
        """Return the auxiliary classifier's logits (B, K) of images (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.critic(images)[1]
        return logits


def _halvings(image_shape: tuple[int, int, int]) -> int:
    """Return how often the smaller side halves before it is less than 4."""
    _, height, width = image_shape
    if min(height, width) < 2 * _SMALLEST_SIDE:
        raise ValueError(
            f"image_shape is {image_shape}: an AC-GAN takes images of {2 * _SMALLEST_SIDE} x "
            f"{2 * _SMALLEST_SIDE} pixels or more"
        )
    return math.floor(math.log2(min(height, width) / _SMALLEST_SIDE))


def _features(settings: AcGanSettings, halvings: int) -> list[int]:
    """Return the channels after each halving, the image's first."""
    return [min(settings.width << level, settings.widest) for level in range(halvings)]
