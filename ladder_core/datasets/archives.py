"""Members of a zip or tar archive, streamed one by one; nothing is ever extracted to a member's own path.

`ladder_core.harm` has looked at the whole archive before: bombs, links, names that lead out.
"""

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from ladder_core.errors import DatasetError
from ladder_core.harm.containers import check_archive
from ladder_core.harm.limits import DATASET_LIMITS
from ladder_core.text import shown
from ladder_schema.errors import ErrorCode

TarMode = Literal["r|", "r|gz", "r|bz2", "r|xz"]

_HEAD_BYTES = 512
READ_ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    # An encrypted member, an unknown compression method, a field that makes no sense.
    RuntimeError,
    NotImplementedError,
    OverflowError,
    ValueError,
    struct.error,
)
"""What reading a damaged archive raises."""


class DamagedMemberError(Exception):
    """One member cannot be read, though the archive goes on after it."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive; can be opened until the next member is asked for.

    Attributes:
        name: As the archive gives it: data, never a path to write to.
        size: Unpacked, as the archive claims.
    """

    name: str
    size: int
    _open: Callable[[], IO[bytes]]

    def read(self, limit: int) -> bytes:
        """Return the content.

        Raises:
            DamagedMemberError: It is damaged, or larger than the limit.
        """
        if self.size > limit:
            raise DamagedMemberError(f"is larger than the {limit >> 20} MiB accepted")
        try:
            with self._open() as file:
                content = file.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError) as error:
            raise DamagedMemberError("is damaged in the archive") from error
        if len(content) > limit:
            raise DamagedMemberError(f"is larger than the {limit >> 20} MiB accepted")
        if len(content) < self.size:
            raise DamagedMemberError("is cut short in the archive")
        return content

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the content for reading from start to end."""
        with self._open() as file:
            yield file


@dataclass(frozen=True)
class Archive:
    """A zip archive, or a tar that is read from start to end each time.

    Attributes:
        path: The uploaded file, found harmless.
        mode: How tarfile is to read it; None for a zip archive.
        names: Of its files, in its order.
    """

    path: Path
    mode: TarMode | None
    names: tuple[str, ...]

    def members(self) -> Iterator[Member]:
        """Yield the regular files in the order they are stored in.

        Raises:
            DatasetError: The archive is damaged.
        """
        walk = self._tar_members() if self.mode else self._zip_members()
        while True:
            # Only the archive's own errors are caught here, not those of whoever takes the members.
            try:
                member = next(walk, None)
            except READ_ERRORS as error:
                raise DatasetError(
                    ErrorCode.DATASET_UNREADABLE,
                    f"the dataset's archive cannot be read ({shown(str(error))}): it is cut short or "
                    "damaged; write it again",
                ) from error
            if member is None:
                return
            yield member

    def _zip_members(self) -> Iterator[Member]:
        with zipfile.ZipFile(self.path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
                if not info.is_dir():
                    yield Member(info.filename, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]

    def _tar_members(self) -> Iterator[Member]:
        with tarfile.open(self.path, self.mode or "r|") as archive:
            while (info := archive.next()) is not None:
                # A streamed tar needs no memory of the members it has passed; a million would be a gigabyte.
                archive.members.clear()  # type: ignore[attr-defined]
                if info.isreg():
                    yield Member(info.name, info.size, lambda info=info: _extracted(archive, info))  # type: ignore[misc]


def open_archive(path: Path) -> Archive | None:
    """Look at an archive, and return it; None if the file is none.

    Raises:
        DatasetError: It could do harm, or is damaged.
    """
    listing = check_archive(path, DATASET_LIMITS)
    if listing.kind == "file":
        return None
    with path.open("rb") as file:
        mode = tar_mode(file.read(_HEAD_BYTES))
    return Archive(path, mode, tuple(name for name in listing.names if not name.endswith("/")))


def tar_mode(head: bytes) -> TarMode | None:
    """Return how tarfile is to read a file that begins like this; None where it is no (compressed) tar."""
    signatures: dict[bytes, TarMode] = {b"\x1f\x8b": "r|gz", b"BZh": "r|bz2", b"\xfd7zXZ\x00": "r|xz"}
    for signature, mode in signatures.items():
        if head.startswith(signature):
            return mode
    return "r|" if head[257:262] == b"ustar" else None


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name} is no regular file")
    return file
