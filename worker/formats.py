"""What the files of a child must be to be handed on: looked at, never loaded, and in bounded memory."""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from worker.endings import NotFinite, ProtocolViolation

_MAX_HEADER_BYTES = 4 << 20
_MAX_DIRECTORY_BYTES = 4 << 20
_MAX_ENTRIES = 20_000
_MAX_NAME_LENGTH = 512
_MAX_DIMENSIONS = 64
_METADATA = "__metadata__"
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


# The bits of the exponent, all of which are set in what is not finite, by the unsigned type of the same size.
_EXPONENTS: dict[str, tuple[str, int]] = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F80_0000),
    "C64": ("<u4", 0x7F80_0000),
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
}
_CHUNK_BYTES = 4 << 20


def check_archive(path: Path) -> None:
    """Check a zip archive's directory: its size, and that no entry would be unpacked outside.

    Raises:
        ProtocolViolation: It is no such archive.
    """
    try:
        with _Frugal(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    # Every way in which reading an untrusted directory can fail.
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, ValueError) as error:
        raise ProtocolViolation(f"{path.name} is no archive") from error
    if not 0 < len(entries) <= _MAX_ENTRIES:
        raise ProtocolViolation(f"{path.name} has {len(entries)} entries, of at most {_MAX_ENTRIES}")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ProtocolViolation(f"{path.name} has two entries of one name")
    size = path.stat().st_size
    for entry in entries:
        if not _is_tame(entry.filename):
            raise ProtocolViolation(f"{path.name} has an entry with an unfit name")
        if not 0 <= entry.header_offset <= size - entry.compress_size:
            raise ProtocolViolation(f"{path.name} describes an entry outside the file")


class _Frugal(io.FileIO):
    """A file that is read in small pieces, whatever size it names itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, self._size - self.tell())
        if size > _MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("its directory is too large")
        return super().read(size)


def _is_tame(name: str) -> bool:
    path = PurePosixPath(name)
    stays_within = not path.is_absolute() and ".." not in path.parts
    return len(name) <= _MAX_NAME_LENGTH and name.isprintable() and "\\" not in name and stays_within


def check_safetensors(path: Path) -> None:
    """Check that the tensors are as large as they say, fill the file without overlap, and are finite.

    A model may bring a mask, whose elements are infinite or all the same; no training makes one.

    Raises:
        ProtocolViolation: It is no such file.
        NotFinite: A tensor has other values that are not finite.
    """
    with path.open("rb") as file:
        header = _safetensors_header(file, path.name)
        header.pop(_METADATA, None)
        data = file.tell()
        _check_extents(header, path, path.stat().st_size - data)
        for name, tensor in header.items():
            begin, end = _extent(tensor, path.name)
            if (kind := _EXPONENTS.get(tensor["dtype"])) and not _is_fit(
                file, data + begin, data + end, *kind
            ):
                raise NotFinite(f"{path.name} has values that are not finite in {name[:_MAX_NAME_LENGTH]}")


def _check_extents(header: dict[str, Any], path: Path, data_bytes: int) -> None:
    position = 0
    for begin, end in sorted(_extent(tensor, path.name) for tensor in header.values()):
        if begin != position:
            raise ProtocolViolation(f"{path.name} describes tensors that overlap or leave a gap")
        position = end
    if position != data_bytes:
        raise ProtocolViolation(f"{path.name} describes {position} bytes of tensors and has {data_bytes}")


def _is_fit(file: IO[bytes], begin: int, end: int, integer: str, exponent: int) -> bool:
    """Whether all values are finite, or it is a mask."""
    chunks = _chunks(file, begin, end, np.dtype(integer))
    if not any(((chunk & exponent) == exponent).any() for chunk in chunks):
        return True
    others: set[int] = set()
    for chunk in _chunks(file, begin, end, np.dtype(integer)):
        unsigned = chunk & (np.iinfo(chunk.dtype).max >> 1)
        if (unsigned > exponent).any():  # not a number
            return False
        # Two differing values tell enough.
        others.update(np.unique(chunk[unsigned != exponent])[:2].tolist())
        if len(others) > 1:
            return False
    return True


def _chunks(file: IO[bytes], begin: int, end: int, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Read, not mapped: an error of the disk must not be a signal that ends this process."""
    file.seek(begin)
    while begin < end:
        chunk = file.read(min(_CHUNK_BYTES, end - begin))
        if not chunk:
            raise ProtocolViolation("a file became shorter while it was checked")
        yield np.frombuffer(chunk, dtype)
        begin += len(chunk)


def _safetensors_header(file: IO[bytes], name: str) -> dict[str, Any]:
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size)) if size <= _MAX_HEADER_BYTES else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ProtocolViolation(f"{name} has no valid header")
    return header


def _extent(tensor: object, name: str) -> tuple[int, int]:
    match tensor:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end]} if (
            dtype in _ITEM_BYTES
            and len(shape) <= _MAX_DIMENSIONS
            and all(map(_is_size, (*shape, begin, end)))
        ):
            if math.prod(shape) * _ITEM_BYTES[dtype] == end - begin:
                return begin, end
    raise ProtocolViolation(f"{name} describes an impossible tensor")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
