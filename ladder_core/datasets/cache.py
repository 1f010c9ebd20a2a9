"""The file that decoded images are appended to once, and memory-mapped from afterwards."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ladder_core.datasets.images import Size

_COPY_BYTES = 16 << 20


class ImageCache:
    """Images of one size, one after the other; its pixel format widens when an image needs more.

    It starts as the first image is: a set of greyscale images takes a third of the disk. The first colour
    image rewrites what is there as RGB (three equal channels), the first 16-bit image as uint16; a value v of
    255 becomes 257 v of 65535, the same share exactly. Each happens at most once.

    Written with plain writes, not through a map: dirty pages of a map count as the process's own memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._size: Size | None = None
        self._channels = 1
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._count = 0
        self.mixed_channels = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> Size | None:
        """Height and width of the images; None before the first."""
        return self._size

    def append(self, image: npt.NDArray[Any]) -> None:
        """Add an image (C, H, W), uint8 or uint16, of the size of those before.

        Raises:
            OSError: The disk is full, or the file larger than this process may write.
        """
        channels, height, width = image.shape
        if self._size is None:
            self._size, self._channels, self._dtype = (height, width), channels, image.dtype
        elif self._size != (height, width):
            raise ValueError(f"an image of {height} x {width} in a cache of {self._size}")
        self.mixed_channels |= channels != self._channels
        self._widen(max(channels, self._channels), max(image.dtype, self._dtype))
        self._file.write(_widened(image[None], self._channels, self._dtype).tobytes())
        self._count += 1

    def finish(self) -> npt.NDArray[Any]:
        """Return the images (N, C, H, W), memory-mapped."""
        self._file.close()
        return self._mapped()

    def _mapped(self) -> npt.NDArray[Any]:
        if self._size is None:
            raise ValueError("an empty cache has no images")
        return np.memmap(self._path, self._dtype, "r", shape=(self._count, self._channels, *self._size))

    def _widen(self, channels: int, dtype: np.dtype[Any]) -> None:
        """Rewrite what is there, a few images at a time, into a wider format."""
        if (channels, dtype) == (self._channels, self._dtype):
            return
        self._file.close()
        wider = self._path.with_suffix(".wider")
        with wider.open("wb") as file:
            if self._count:
                narrow = self._mapped()
                step = max(1, _COPY_BYTES // narrow[0].nbytes)
                for start in range(0, self._count, step):
                    file.write(_widened(narrow[start : start + step], channels, dtype).tobytes())
        wider.replace(self._path)
        self._channels, self._dtype = channels, dtype
        self._file = self._path.open("ab")


def _widened(images: npt.NDArray[Any], channels: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return images (N, C, H, W) with as many channels and bits as asked, never fewer."""
    if images.dtype != dtype:
        images = images.astype(dtype) * 257
    return images if images.shape[1] == channels else np.repeat(images, channels, axis=1)
