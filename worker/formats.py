"""What the files of a child must be to be handed on: looked at, never loaded, and in bounded memory."""

import io
import json
import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from worker.endings import ProtocolViolation

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
    """Check that the tensors are as large as they say, and fill the file without overlap.

    Raises:
        ProtocolViolation: It is no such file.
    """
    with path.open("rb") as file:
        header = _safetensors_header(file, path.name)
        data_bytes = path.stat().st_size - file.tell()
    header.pop(_METADATA, None)
    position = 0
    for begin, end in sorted(_extent(tensor, path.name) for tensor in header.values()):
        if begin != position:
            raise ProtocolViolation(f"{path.name} describes tensors that overlap or leave a gap")
        position = end
    if position != data_bytes:
        raise ProtocolViolation(f"{path.name} describes {position} bytes of tensors and has {data_bytes}")


def _safetensors_header(file: IO[bytes], name: str) -> dict[str, object]:
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
