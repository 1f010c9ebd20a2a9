"""Every image format decodes to the pixels it was written from."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ladder_core.datasets.images import (
    MAX_PIXELS,
    BadImageError,
    Finding,
    OtherSizeError,
    Wanted,
    decode,
    read_size,
)
from tests.ladder_core.datasets.uploads import encoded, pixels

COLOUR, GREY = pixels(1), pixels(2, channels=1)
DEEP = np.random.default_rng(3).integers(0, 65536, (6, 5), dtype=np.uint16)
PALETTE = Image.fromarray(COLOUR).quantize(30)

LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "TIFF, deflate": {"compression": "tiff_adobe_deflate"},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
}


def as_chw(image: np.ndarray) -> np.ndarray:
    return image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)


@pytest.mark.parametrize("form", LOSSLESS)
@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["RGB", "grey"])
def test_lossless_formats_give_back_what_was_written(form: str, image: np.ndarray) -> None:
    content = encoded(image, form.split(",", maxsplit=1)[0], **LOSSLESS[form])
    values = decode(content, Wanted()).values
    expected = as_chw(image)
    if form == "WEBP" and image.ndim == 2:  # WebP has no greyscale
        expected = np.repeat(expected, 3, axis=0)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_what_libjpeg_says(mode: str) -> None:
    content = encoded(Image.fromarray(COLOUR).convert(mode), "JPEG", quality=90)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image if mode == "L" else image.convert("RGB"))
    np.testing.assert_array_equal(decode(content, Wanted()).values, as_chw(expected))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_palettes_are_looked_up(form: str) -> None:
    expected = as_chw(np.asarray(PALETTE.convert("RGB")))
    np.testing.assert_array_equal(decode(encoded(PALETTE, form), Wanted()).values, expected)


def test_one_bit_is_black_and_white() -> None:
    bits = GREY > 127
    values = decode(encoded(Image.fromarray(bits), "PNG"), Wanted()).values
    np.testing.assert_array_equal(values, as_chw(bits * np.uint8(255)))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_precision(form: str) -> None:
    decoded = decode(encoded(DEEP, form), Wanted())
    assert decoded.values.dtype == np.uint16
    np.testing.assert_array_equal(decoded.values, DEEP[None])
    assert not decoded.findings


def test_sixteen_bit_colour_is_read_at_eight_and_says_so() -> None:
    samples = np.random.default_rng(4).integers(0, 65536, (6, 5, 3), dtype=np.uint16)
    decoded = decode(png_16_bit_colour(samples), Wanted())
    np.testing.assert_array_equal(decoded.values, as_chw((samples >> 8).astype(np.uint8)))
    assert decoded.findings == {Finding.DEEP_COLOUR}


def png_16_bit_colour(samples: np.ndarray) -> bytes:
    """Pillow cannot write one; a PNG is simple enough by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_honoured(orientation: int, form: str) -> None:
    # What each orientation does to the stored picture to show it, from the EXIF standard's table.
    shown = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    stored = decode(encoded(COLOUR, form, **options), Wanted()).values
    content = encoded(COLOUR, form, exif=exif, **options)
    expected = as_chw(shown[orientation](np.moveaxis(stored, 0, 2)))
    np.testing.assert_array_equal(decode(content, Wanted()).values, expected)
    assert read_size(content) == expected.shape[1:]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_onto_black(form: str) -> None:
    alpha = np.random.default_rng(5).integers(0, 256, (6, 5, 1), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    decoded = decode(encoded(np.concatenate([COLOUR, alpha], axis=2), form, **options), Wanted())
    expected = COLOUR * (alpha / 255)
    np.testing.assert_allclose(decoded.values, as_chw(expected), atol=1)
    assert decoded.findings == {Finding.TRANSPARENT}


def test_an_opaque_alpha_channel_changes_nothing_and_is_not_worth_a_note() -> None:
    opaque = np.concatenate([COLOUR, np.full((6, 5, 1), 255, np.uint8)], axis=2)
    decoded = decode(encoded(opaque), Wanted())
    np.testing.assert_array_equal(decoded.values, as_chw(COLOUR))
    assert not decoded.findings
    grey = decode(encoded(Image.fromarray(GREY).convert("LA")), Wanted())
    np.testing.assert_array_equal(grey.values, GREY[None])


def test_images_are_brought_to_the_size_and_channels_wanted() -> None:
    decoded = decode(encoded(COLOUR), Wanted((9, 8), 1))
    expected = Image.fromarray(COLOUR).convert("L").resize((8, 9), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decoded.values, np.asarray(expected)[None])
    assert decoded.findings == {Finding.RESIZED, Finding.TO_GREY}
    flat = decode(encoded(np.full((6, 5), 40_000, np.uint16)), Wanted((9, 8), 3))
    assert flat.values.shape == (3, 9, 8)
    assert (flat.values == 40_000).all()


def test_another_size_than_expected_is_told_without_decoding() -> None:
    cut = encoded(COLOUR, "BMP")[:-40]
    with pytest.raises(OtherSizeError) as told:
        decode(cut, Wanted(), expected=(4, 4))
    assert told.value.size == (6, 5)
    with pytest.raises(BadImageError, match="cut short"):
        decode(cut, Wanted(), expected=(6, 5))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    content = bytearray(encoded(np.zeros((1, 1), np.uint8)))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


BAD = {
    "nothing": (b"", None, "is no PNG"),
    "text": (b"a cat", ".png", "is no PNG"),
    "cut short": (encoded(pixels(1, (60, 50)), "PNG")[:-900], ".png", "cut short"),
    "cut JPEG": (encoded(pixels(1, (60, 50)), "JPEG")[:-900], ".jpg", "cut short"),
    "bomb": (bomb(50_000, 50_000), ".png", "pixels"),
    "just too large": (
        bomb(MAX_PIXELS // 1_000 + 1, 1_000),
        ".png",
        f"more than the {MAX_PIXELS:,} accepted",
    ),
    "wrong extension": (encoded(COLOUR, "PNG"), ".jpg", "is a PNG file, not what its extension .jpg says"),
    "other format": (encoded(COLOUR, "GIF"), ".png", "is no PNG"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ".png", "is no PNG"),
    "floating point": (encoded(GREY.astype(np.float32), "TIFF"), ".tif", "pixel format F"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_told_by_what_is_wrong_with_them(name: str) -> None:
    content, extension, says = BAD[name]
    with pytest.raises(BadImageError, match=says):
        decode(content, Wanted(), named=extension)
