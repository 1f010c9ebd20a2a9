"""Digital corruptions: Hendrycks and Dietterich 2019, section 4.1 and appendix."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ladder_core.attacks.streams import SampleStreams

JPEG_CHANNELS = frozenset({1, 3})
_MAX_THREADS = 8


def contrast(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Bring each channel nearer to its mean over the image: to ``constants[0]`` of its distance."""
    (kept,) = constants
    means = images.mean(dim=(2, 3), keepdim=True)
    return (images - means) * kept + means


def pixelate(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Shrink the image to ``constants[0]`` of its sides, and enlarge it again, both with a box filter."""
    (share,) = constants
    rows, columns = (_shrunk_and_enlarged(side, share).to(images) for side in images.shape[2:])
    return rows @ images @ columns.T


def _shrunk_and_enlarged(side: int, share: float) -> Tensor:
    """Return what each pixel of a line takes from each (side, side), float64."""
    small = max(1, int(side * share))
    return _box(small, side) @ _box(side, small)


def _box(before: int, after: int) -> Tensor:
    """Return what each of ``after`` pixels takes from each of ``before``, as Pillow's box filter has it."""
    scale = before / after
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    distances = (torch.arange(before, dtype=torch.float64) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = ((distances > -0.5) & (distances <= 0.5)).double()
    return weights / weights.sum(dim=1, keepdim=True)


def jpeg(images: Tensor, constants: tuple[float, ...], _: SampleStreams) -> Tensor:
    """Compress to a JPEG of quality ``constants[0]``, 1 or 3 channels, at 8 bits.

    With Pillow, on the CPU whatever the device: an image is the same on every machine.
    """
    (quality,) = constants
    pixels = (images * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()

    def compressed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(
            buffer, "JPEG", quality=int(quality)
        )
        with Image.open(buffer, formats=["JPEG"]) as opened:
            return np.asarray(opened).reshape(image.shape)

    # Pillow's codecs release the interpreter lock.
    with ThreadPoolExecutor(min(_MAX_THREADS, len(os.sched_getaffinity(0)))) as pool:
        decoded = np.stack(list(pool.map(compressed, pixels)))
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images.device).float() / 255
