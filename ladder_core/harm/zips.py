"""Reads the directory of a zip archive, and compares it with the entries themselves."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO

from ladder_core.harm.entries import HEAD_BYTES, Entry, archive_kind
from ladder_core.harm.limits import ArchiveLimits
from ladder_core.text import quoted

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = (1 << 16) - 1
# A directory record is 46 bytes, its name and extra fields; honest ones stay far below this.
_LONGEST_RECORD = 1_024
_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW = 0x8
_UTF8 = 0x800


def list_zip(file: BinaryIO, limits: ArchiveLimits) -> list[Entry]:
    """The entries of a zip archive whose directory tells the truth.

    Raises:
        HardeningError: ``..._UNSAFE`` or ``..._UNREADABLE``.
    """
    directory_start = _check_end(file, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError) as error:
        limits.upload.unreadable(f"the directory of the archive is damaged ({error})")
    infos = archive.infolist()
    _check_count(len(infos), limits)
    return _walk(file, infos, directory_start, limits)


def _check_end(file: BinaryIO, limits: ArchiveLimits) -> int:
    """Check the end record, which bounds everything read after it.

    Returns:
        Where the directory starts.
    """
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        limits.upload.unreadable("the end of the archive is missing: it is truncated")
    _, disk, _, _, count, length, start, comment = _END.unpack_from(tail, at)
    if disk not in (0, 0xFFFF) or tail_start + at + _END.size + comment != size:
        limits.upload.unreadable("the archive is truncated, or has bytes after its end")
    if limits.strict and comment:
        limits.upload.unsafe("the archive carries a comment, which no program that saves models writes")
    end = tail_start + at
    locator_at = at - _END64_LOCATOR.size
    if locator_at >= 0 and tail[locator_at:].startswith(b"PK\x06\x07"):
        _, _, position, _ = _END64_LOCATOR.unpack_from(tail, locator_at)
        if position + _END64.size > end:
            limits.upload.unreadable("the end of the archive is damaged")
        file.seek(position)
        fields = _END64.unpack(file.read(_END64.size))
        if fields[0] != b"PK\x06\x06":
            limits.upload.unreadable("the end of the archive is damaged")
        if position + _END64.size != end - _END64_LOCATOR.size:
            limits.upload.unsafe("the archive has bytes between its directory and its end")
        count, length, start, end = fields[7], fields[8], fields[9], position
    _check_count(count, limits)
    if length > limits.max_entries * _LONGEST_RECORD:
        limits.upload.unsafe(f"the directory of the archive takes {length} bytes")
    if start + length != end:
        limits.upload.unsafe("the directory of the archive is not where its end record says")
    return int(start)


def _check_count(count: int, limits: ArchiveLimits) -> None:
    if count > limits.max_entries:
        limits.upload.unsafe(f"it has {count} entries; {limits.max_entries} are allowed")


def _walk(
    file: BinaryIO, infos: list[zipfile.ZipInfo], directory_start: int, limits: ArchiveLimits
) -> list[Entry]:
    """Visit the entries in the order they lie in the file."""
    entries: dict[int, Entry] = {}
    previous, free = "", 0
    for index, info in sorted(enumerate(infos), key=lambda item: item[1].header_offset):
        _check_kind(info, limits)
        if info.header_offset < free:
            limits.upload.unsafe(f"the entries {quoted(previous)} and {quoted(info.filename)} overlap")
        data_start = _check_local(file, info, limits)
        previous, free = info.filename, data_start + info.compress_size
        if free > directory_start:
            limits.upload.unsafe(f"the entry {quoted(info.filename)} reaches into the directory")
        entries[index] = Entry(
            info.orig_filename,
            info.file_size,
            info.compress_size,
            archive_kind(_head(file, info, data_start)),
        )
    return [entries[index] for index in range(len(infos))]


def _check_kind(info: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    upload, name = limits.upload, quoted(info.orig_filename)
    if info.flag_bits & _ENCRYPTED:
        upload.unsafe(f"the entry {name} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        upload.unsafe(f"the entry {name} is packed with method {info.compress_type}; use deflate, or none")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        upload.unsafe(f"the entry {name} lies about its size: stored as it is, yet of two sizes")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "no plain file"
        upload.unsafe(f"the entry {name} is {what}")


def _check_local(file: BinaryIO, info: zipfile.ZipInfo, limits: ArchiveLimits) -> int:
    """Compare the entry's own header with the directory's record of it.

    Returns:
        Where its data start.
    """
    upload, name = limits.upload, quoted(info.orig_filename)
    file.seek(info.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        upload.unreadable(f"the entry {name} is not where the directory says")
    _, _, flags, method, _, _, _, packed, size, name_length, extra_length = _LOCAL.unpack(header)
    raw_name = file.read(name_length)
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    if raw_name != info.orig_filename.encode(encoding, errors="surrogateescape"):
        upload.unsafe(f"the entry {name} has another name in its own header")
    if flags & _ENCRYPTED or method != info.compress_type:
        upload.unsafe(f"the entry {name} is packed otherwise than the directory says")
    packed, size = _zip64_sizes(file.read(extra_length), packed, size)
    sizes_follow = bool(flags & _SIZES_FOLLOW)
    if (packed, size) != (info.compress_size, info.file_size) and not (sizes_follow and packed == size == 0):
        upload.unsafe(
            f"the entry {name} lies about its size: {size} bytes in its own header, {info.file_size} in the "
            "directory"
        )
    return int(info.header_offset + _LOCAL.size + name_length + extra_length)


def _zip64_sizes(extra: bytes, packed: int, size: int) -> tuple[int, int]:
    """The sizes of a header that keeps them in its extra field, where they need more than 32 bits."""
    if _ZIP64 not in (packed, size):
        return packed, size
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            numbers = extra[4 : 4 + min(length, 16)]
            wide = [int.from_bytes(numbers[at : at + 8], "little") for at in range(0, len(numbers), 8)]
            if size == _ZIP64 and wide:
                size = wide.pop(0)
            if packed == _ZIP64 and wide:
                packed = wide.pop(0)
            break
        extra = extra[4 + length :]
    return packed, size


def _head(file: BinaryIO, info: zipfile.ZipInfo, start: int) -> bytes:
    """The first bytes of an entry, or none where they cannot be unpacked; its reader will say so."""
    file.seek(start)
    packed = file.read(min(info.compress_size, HEAD_BYTES))
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, HEAD_BYTES)
    except zlib.error:
        return b""
