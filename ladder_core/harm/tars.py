"""Reads the headers of a tar archive, plain or compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from typing import BinaryIO, cast

from ladder_core.harm.entries import HEAD_BYTES, Entry, archive_kind
from ladder_core.harm.limits import ArchiveLimits
from ladder_core.text import quoted

# What precedes a file in its headers: a long name, a few attributes.
_MAX_HEADER_BYTES = 1 << 20


class _Guarded:
    """A stream that hands out little at a time and not more in all than it may.

    ``tarfile`` reads a header's long name whole, whatever length it claims, and passes over a file's data by
    seeking; so large reads are attacks, and the position says how much was unpacked so far.
    """

    def __init__(self, stream: BinaryIO, packed_size: int, limits: ArchiveLimits) -> None:
        self._stream = stream
        self._packed_size = packed_size
        self._limits = limits

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            self._limits.upload.unsafe(f"a header of the archive takes {size} bytes")
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        self._check(position)
        return self._stream.seek(position, whence)

    def _check(self, position: int) -> None:
        limits = self._limits
        if position > limits.max_total_bytes + limits.max_entries * tarfile.BLOCKSIZE:
            limits.upload.unsafe(f"it unpacks to more than the {limits.max_total_bytes} bytes allowed")
        ceiling = max(limits.ratio_floor_bytes, limits.max_ratio * self._packed_size)
        if position > ceiling:
            limits.upload.unsafe(
                f"it unpacks from {self._packed_size} bytes to more than {limits.max_ratio} times as much"
            )


def list_tar(file: BinaryIO, kind: str, limits: ArchiveLimits) -> list[Entry]:
    """The entries of a tar archive; the data of compressed ones are unpacked, and dropped, on the way.

    Args:
        file: The upload.
        kind: ``tar``, or how it is compressed.
        limits: What it may be.

    Raises:
        HardeningError: ``..._UNSAFE`` or ``..._UNREADABLE``.
    """
    packed_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    guarded = _Guarded(_unpacked(file, kind), packed_size, limits)
    entries: list[Entry] = []
    try:
        with tarfile.open(fileobj=cast("BinaryIO", guarded), mode="r:") as archive:
            while (member := archive.next()) is not None:
                if len(entries) >= limits.max_entries:
                    limits.upload.unsafe(f"it has more than {limits.max_entries} entries")
                entries.append(_entry(guarded, member, limits))
                # The archive keeps every member it has seen; a million of them are a gigabyte.
                archive.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError, OverflowError) as error:
        limits.upload.unreadable(f"the tar archive is damaged ({error})")
    except RecursionError:
        limits.upload.unsafe("the headers of the archive are nested without end")
    return entries


def _unpacked(file: BinaryIO, kind: str) -> BinaryIO:
    if kind == "gzip":
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
    if kind == "bzip2":
        return cast("BinaryIO", bz2.BZ2File(file))
    if kind == "xz":
        return cast("BinaryIO", lzma.LZMAFile(file))
    return file


def _entry(guarded: _Guarded, member: tarfile.TarInfo, limits: ArchiveLimits) -> Entry:
    name = quoted(member.name)
    if member.issym() or member.islnk():
        limits.upload.unsafe(f"the entry {name} is a {'symbolic' if member.issym() else 'hard'} link")
    if not (member.isreg() or member.isdir()) or member.issparse():
        limits.upload.unsafe(f"the entry {name} is no plain file")
    if member.isdir():
        return Entry(member.name + "/", 0, 0)
    if member.size > limits.max_entry_bytes:
        limits.upload.unsafe(
            f"the entry {name} unpacks to {member.size} bytes; {limits.max_entry_bytes} are allowed"
        )
    guarded.seek(member.offset_data)
    # One byte short, for a compressed stream goes back by starting again, and the next header follows.
    head = guarded.read(min(member.size, HEAD_BYTES - 1))
    return Entry(member.name, member.size, member.size, archive_kind(head))
