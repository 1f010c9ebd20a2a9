"""Decodes one encoded image: what is accepted, what is refused, and how every pixel format becomes pixels.

* Only PNG, JPEG, WebP, BMP and TIFF decoders of Pillow are ever tried; of several frames the first is taken.
* EXIF orientation is applied. Transparency is laid onto black, which is also what dropping the alpha channel
  gives for the usual transparent pixel (0, 0, 0, 0).
* Bilevel, greyscale and 16-bit greyscale images have one channel; everything else becomes RGB.
* 16-bit greyscale keeps its 16 bits. Pillow reads 16-bit colour at 8 bits, and a note says so.
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from ladder_core.text import shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
EXTENSIONS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
MAX_PIXELS = 64_000_000
"""Of one image, checked before any is decoded; below Pillow's own limit, which only warns at first."""
MAX_ENCODED_BYTES = 256 << 20
"""Of one image's file: 64 megapixels at 16 bits, uncompressed, fit."""

# Several of these at once would be gigabytes; one at a time is not.
_LARGE_PIXELS = 8_000_000
_one_large = threading.Lock()

_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_OPAQUE = 255
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_GREY_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})

Size = tuple[int, int]
"""Height and width."""


class BadImageError(Exception):
    """This image cannot be used; the message completes "it ..."."""


class OtherSizeError(Exception):
    """This image is of another size than those before it."""

    def __init__(self, size: Size) -> None:
        super().__init__(f"{size[0]} x {size[1]}")
        self.size = size


class Finding(Enum):
    """Something about an image that its user should know was decided for them."""

    TRANSPARENT = auto()
    DEEP_COLOUR = auto()
    RESIZED = auto()
    TO_GREY = auto()


@dataclass(frozen=True)
class Wanted:
    """What images are to become.

    Attributes:
        size: Height and width to resize to; None keeps each image's own.
        channels: 1 or 3; None keeps each image's own.
    """

    size: Size | None = None
    channels: Literal[1, 3] | None = None


@dataclass(frozen=True)
class Pixels:
    """A decoded image.

    Attributes:
        values: (C, H, W), uint8 or uint16, C = 1 or 3.
        findings: What was decided on the way.
    """

    values: npt.NDArray[Any]
    findings: frozenset[Finding]


def decode(
    encoded: bytes, wanted: Wanted, *, named: str | None = None, expected: Size | None = None
) -> Pixels:
    """Decode one image.

    Args:
        encoded: The file's content.
        wanted: Size and channels to bring it to.
        named: The file's extension, checked against its content; None where a name means nothing.
        expected: The size it must have where none is wanted; one of another is not decoded.

    Raises:
        BadImageError: It is no whole image of an accepted format, or too large.
        OtherSizeError: It is not of the expected size, even if turned upright.
    """
    with _opened(encoded, named) as image, _room_for(image):
        if expected is not None and wanted.size is None and sorted(image.size) != sorted(expected):
            raise OtherSizeError(_upright_size(image))
        return _convert(image, wanted)


def read_size(encoded: bytes, *, named: str | None = None) -> Size:
    """Return an image's upright height and width from its header, without decoding it.

    Raises:
        BadImageError: It is no image of an accepted format, or too large.
    """
    with _opened(encoded, named) as image, _room_for(image):
        return _upright_size(image)


@contextmanager
def _opened(encoded: bytes, named: str | None) -> Iterator[Image.Image]:
    """Open an image, and turn whatever its parsing raises into a :class:`BadImageError`."""
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            _check(image, named)
            yield image
    except (BadImageError, OtherSizeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImageError("is no " + ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]} file") from error
    except Image.DecompressionBombError as error:
        raise BadImageError(f"has more than the {MAX_PIXELS:,} pixels accepted") from error
    except Exception as error:
        # Pillow's parsers let almost any exception through (struct.error, SyntaxError, ZeroDivisionError);
        # whichever it is, it says that this one file is damaged, and nothing about the others.
        raise BadImageError("is damaged or cut short") from error


def _check(image: Image.Image, named: str | None) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(f"has {width} x {height} pixels, more than the {MAX_PIXELS:,} accepted")
    if named is not None and EXTENSIONS.get(named.lower()) != _format(image):
        raise BadImageError(f"is a {_format(image)} file, not what its extension {shown(named)} says")


def _format(image: Image.Image) -> str | None:
    # A JPEG with a second, smaller picture attached, as phones write it.
    return "JPEG" if image.format == "MPO" else image.format


@contextmanager
def _room_for(image: Image.Image) -> Iterator[None]:
    if image.width * image.height <= _LARGE_PIXELS:
        yield
    else:
        with _one_large:
            yield


def _upright_size(image: Image.Image) -> Size:
    width, height = image.size
    # Of a TIFF, Pillow says the upright size right away.
    sideways = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (width, height) if sideways else (height, width)


def _convert(image: Image.Image, wanted: Wanted) -> Pixels:
    findings: set[Finding] = set()
    if _is_deep_colour(image):
        findings.add(Finding.DEEP_COLOUR)
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_GREY_MODES:
        pixels = _deep_grey(upright, wanted, findings)
    elif upright.mode in _GREY_MODES | _COLOUR_MODES:
        pixels = _eight_bit(upright, wanted, findings)
    else:
        raise BadImageError(f"has the pixel format {upright.mode}; give 8 or 16 bits a channel")
    return Pixels(pixels, frozenset(findings))


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow drops bits: a decoder told to read 16-bit samples for an 8-bit mode."""
    tiles = getattr(image, "tile", ())
    return image.mode not in _DEEP_GREY_MODES and any(";16" in str(tile[3]) for tile in tiles)


def _eight_bit(image: Image.Image, wanted: Wanted, findings: set[Finding]) -> npt.NDArray[Any]:
    own = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if np.asarray(layered.getchannel("A")).min() < _OPAQUE:
            findings.add(Finding.TRANSPARENT)
            image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, _OPAQUE)), layered)
    mode = {1: "L", 3: "RGB", None: own}[wanted.channels]
    if mode == "L" and own == "RGB":
        findings.add(Finding.TO_GREY)
    image = image.convert(mode)
    if wanted.size is not None and (image.height, image.width) != wanted.size:
        findings.add(Finding.RESIZED)
        image = image.resize(wanted.size[::-1], Image.Resampling.BILINEAR)
    values = np.asarray(image)
    return values[None] if mode == "L" else np.ascontiguousarray(np.moveaxis(values, 2, 0))


def _deep_grey(image: Image.Image, wanted: Wanted, findings: set[Finding]) -> npt.NDArray[Any]:
    values = np.asarray(image).astype(np.uint16)
    if wanted.size is not None and values.shape != wanted.size:
        findings.add(Finding.RESIZED)
        # Pillow resamples floating-point images in full precision; a bilinear mean stays within their range.
        resized = Image.fromarray(values.astype(np.float32)).resize(
            wanted.size[::-1], Image.Resampling.BILINEAR
        )
        values = np.rint(np.asarray(resized)).astype(np.uint16)
    return np.repeat(values[None], wanted.channels or 1, axis=0)
