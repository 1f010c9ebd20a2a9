"""Which corruptions there are, and how strong each is at each severity."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ladder_core.attacks.base import full_precision
from ladder_core.attacks.streams import SampleStreams
from ladder_core.corruptions.blur import defocus_blur, gaussian_blur, motion_blur
from ladder_core.corruptions.digital import JPEG_CHANNELS, contrast, jpeg, pixelate
from ladder_core.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from ladder_core.corruptions.weather import brightness, fog

SEVERITIES = (1, 2, 3, 4, 5)
SMALL_SIDE = 64
"""Images whose shorter side is below have CIFAR-10-C's constants."""

Constants = tuple[float, ...]
Apply = Callable[[Tensor, Constants, SampleStreams], Tensor]
"""From images (B, C, H, W) in [0, 1] to corrupted ones, which may leave [0, 1]."""


@dataclass(frozen=True)
class Corruption:
    """A corruption, and its constants at severities 1 to 5.

    Attributes:
        apply: The corruption.
        small: Constants of CIFAR-10-C.
        large: Constants of ImageNet-C.
        channels: Numbers of channels it is defined for; None for any.
    """

    apply: Apply
    small: tuple[Constants, ...]
    large: tuple[Constants, ...]
    channels: frozenset[int] | None = None


# What the constants mean is said where each corruption is defined.
CORRUPTIONS = {
    "gaussian_noise": Corruption(
        gaussian_noise,
        small=((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        large=((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    ),
    "shot_noise": Corruption(
        shot_noise,
        small=((500,), (250,), (100,), (75,), (50,)),
        large=((60,), (25,), (12,), (5,), (3,)),
    ),
    "impulse_noise": Corruption(
        impulse_noise,
        small=((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        large=((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    ),
    "gaussian_blur": Corruption(
        gaussian_blur,
        small=((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
        large=((1,), (2,), (3,), (4,), (6,)),
    ),
    "defocus_blur": Corruption(
        defocus_blur,
        small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        large=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur": Corruption(
        motion_blur,
        small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "pixelate": Corruption(
        pixelate,
        small=((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        large=((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    ),
    "brightness": Corruption(
        brightness,
        small=((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        large=((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    ),
    "contrast": Corruption(
        contrast,
        small=((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        large=((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    ),
    "fog": Corruption(
        fog,
        small=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        large=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "jpeg": Corruption(
        jpeg,
        small=((80,), (65,), (58,), (50,), (40,)),
        large=((25,), (18,), (15,), (10,), (7,)),
        channels=JPEG_CHANNELS,
    ),
}


def suitable(channels: int) -> tuple[str, ...]:
    """Return the names of the corruptions that images of that many channels can have."""
    return tuple(
        name
        for name, corruption in CORRUPTIONS.items()
        if corruption.channels is None or channels in corruption.channels
    )


def left_out(channels: int) -> tuple[str, ...]:
    """Return, of each corruption that images of that many channels cannot have, why not."""
    return tuple(
        f"{name} is left out: it takes {' or '.join(map(str, sorted(corruption.channels)))} channels, "
        f"the images have {channels}"
        for name, corruption in CORRUPTIONS.items()
        if corruption.channels is not None and channels not in corruption.channels
    )


def corrupt(images: Tensor, name: str, severity: int, streams: SampleStreams) -> Tensor:
    """Return the images corrupted, in [0, 1].

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        name: One of `suitable`.
        severity: 1 to 5.
        streams: Of the samples.

    Raises:
        ValueError: There is no such corruption or severity, or images of that many channels cannot have it.
    """
    _, channels, height, width = images.shape
    if name not in suitable(channels):
        raise ValueError(f"corruption is {name!r}: images of {channels} channels have {suitable(channels)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}: give one of {SEVERITIES}")
    corruption = CORRUPTIONS[name]
    constants = corruption.small if min(height, width) < SMALL_SIDE else corruption.large
    with full_precision(images.device):
        return corruption.apply(images, constants[severity - 1], streams).clamp_(0, 1)
