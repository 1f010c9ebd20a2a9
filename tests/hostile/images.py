"""Attacks in images."""

import struct
import zipfile
import zlib
from pathlib import Path

from ladder_schema.errors import ErrorCode
from tests.hostile.base import Hostile, Wall


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png_bomb(side: int = 60_000) -> bytes:
    """A greyscale image of side x side zeros: 3.6 GB of pixels in a few kilobytes."""
    header = struct.pack(">2L5B", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _folders(path: Path, outside: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(4):
                archive.writestr(f"train/{name}/{number}.png", png_bomb())


IMAGES = {
    "PNG bomb": Hostile(
        "3.6 GB of pixels",
        _folders,
        Wall.IMAGES,
        "pixels accepted",
        ErrorCode.DATASET_IMAGES_INVALID,
        of="dataset",
    ),
}
