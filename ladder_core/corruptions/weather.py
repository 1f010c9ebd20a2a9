"""Weather: Hendrycks and Dietterich 2019, section 4.1 and appendix."""

import torch
from torch import Tensor

from ladder_core.attacks.base import per_sample
from ladder_core.attacks.streams import SampleStreams

_FIRST_WIBBLE = 100.0


def brightness(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Add ``constants[0]`` to each pixel's value: daylight.

    The value of hue, saturation, value: with the other two kept, a pixel's channels grow in proportion to
    their largest; so any number of channels has one.
    """
    (added,) = constants
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp_max(1)
    return torch.where(value > 0, images * (brighter / value.clamp_min(1e-12)), brighter)


def fog(images: Tensor, constants: tuple[float, ...], streams: SampleStreams) -> Tensor:
    """Lay a cloud of thickness ``constants[0]`` over the image, and bring it back to its brightest pixel.

    ``constants[1]``: how fast the cloud's detail fades from scale to scale.
    """
    thickness, decay = constants
    _, _, height, width = images.shape
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    cloud = _plasma(streams, side, decay)[:, None, :height, :width]
    brightest = per_sample(images.flatten(1).amax(dim=1), images)
    return (images + thickness * cloud) * brightest / (brightest + thickness)


def _plasma(streams: SampleStreams, side: int, decay: float) -> Tensor:
    """Return height maps (B, side, side) in [0, 1], side a power of 2: the diamond-square algorithm.

    Fournier, Fussell and Carpenter 1982, https://doi.org/10.1145/358523.358553; on a torus.
    """
    heights = torch.zeros(len(streams.keys), side, side, device=streams.keys.device)
    step, wibble = side, _FIRST_WIBBLE

    def displaced(around: Tensor) -> Tensor:
        return around / 4 + wibble**2 * (2 * streams.uniform(*around.shape[1:]) - 1)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = displaced(pairs + pairs.roll(-1, 2))
        centres = heights[:, half::step, half::step]
        across = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::step, half::step] = displaced(across)
        along = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, half::step, ::step] = displaced(along)
        step, wibble = half, wibble / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights / heights.amax(dim=(1, 2), keepdim=True)
