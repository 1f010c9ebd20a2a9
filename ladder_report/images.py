"""Raw thumbnail pixels become PNG; no image *file* of an untrusted process is ever parsed."""

from collections.abc import Iterable
from io import BytesIO

from PIL import Image, ImageChops

from ladder_schema.report import GalleryItem, Thumbnail

_AMPLIFICATIONS = (100, 50, 20, 10, 5, 2, 1)
_WHITE = 255
_GREY = 128


def to_image(thumbnail: Thumbnail) -> Image.Image:
    """The thumbnail as an image; its schema has checked that the pixels are complete."""
    mode = "L" if thumbnail.channels == 1 else "RGB"
    return Image.frombytes(mode, (thumbnail.width, thumbnail.height), thumbnail.pixels)


def png(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def amplification(items: Iterable[GalleryItem]) -> int:
    """The largest round factor at which no difference in the gallery is clipped.

    One factor serves the whole gallery, so that its differences can be compared with each other.
    """
    largest = max((_largest_difference(item) for item in items), default=0)
    return next(factor for factor in _AMPLIFICATIONS if factor * largest <= _WHITE or factor == 1)


def difference(item: GalleryItem, factor: int) -> Image.Image:
    """Adversarial minus original around mid-grey: brighter where pixels were added, darker where taken away.

    At factor 1 the whole range of -255 to 255 fits, so mid-grey plus half the difference is shown.
    """
    return ImageChops.subtract(
        to_image(item.adversarial), to_image(item.original), scale=2 / factor, offset=_GREY
    )


def _largest_difference(item: GalleryItem) -> int:
    extrema = ImageChops.difference(to_image(item.adversarial), to_image(item.original)).getextrema()
    # One (low, high) pair for a grey image, one pair a channel for a coloured one.
    highest = extrema[1] if item.original.channels == 1 else max(high for _, high in extrema)  # type: ignore[misc]
    return int(highest)  # type: ignore[arg-type]
