"""The first wall: what kind of file is it, and is its container what it claims to be?

Nothing here unpacks more than the first bytes of an entry, so an archive can be looked at in time and memory
that its own size bounds. Refused: bombs, by ratio, number and size; paths that lead out; links and devices;
archives in archives; names that occur twice; encryption; entries that overlap or disagree with the directory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from ladder_core.harm.entries import HEAD_BYTES, ArchiveListing, Entry, archive_kind
from ladder_core.harm.limits import ArchiveLimits, path_fault
from ladder_core.harm.tars import list_tar
from ladder_core.harm.zips import list_zip
from ladder_core.text import quoted


def check_archive(path: Path, limits: ArchiveLimits, *, nested_allowed: Iterable[str] = ()) -> ArchiveListing:
    """Look at a container without unpacking it.

    Args:
        path: The upload.
        limits: What it may be.
        nested_allowed: Ends of the names of entries that may be archives themselves; whoever lets them
            through must look into them.

    Returns:
        Its entries; a file that is neither zip nor tar has none.

    Raises:
        HardeningError: ``..._UNSAFE`` if it could do harm, ``..._UNREADABLE`` if it is damaged. The message
            names the entry, the value and the limit.
    """
    try:
        with path.open("rb") as file:
            return check_open_archive(file, limits, nested_allowed=nested_allowed)
    except OSError as error:
        limits.upload.unreadable(error.strerror or "the file is damaged")


def check_open_archive(
    file: BinaryIO, limits: ArchiveLimits, *, nested_allowed: Iterable[str] = ()
) -> ArchiveListing:
    """As `check_archive`, of a file that is open for reading and can seek."""
    file.seek(0)
    kind = archive_kind(file.read(HEAD_BYTES))
    if kind == "zip":
        entries = list_zip(file, limits)
    elif kind in ("tar", "gzip", "bzip2", "xz") and not limits.strict:
        entries = list_tar(file, kind, limits)
        kind = "tar"
    elif zipfile.is_zipfile(file):
        # Readers that look for the end of an archive would open it all the same.
        limits.upload.unsafe("it is a zip archive with something else in front")
    else:
        return ArchiveListing("file")
    _check_entries(entries, limits, tuple(nested_allowed))
    return ArchiveListing(kind, tuple(entries))


def _check_entries(entries: Iterable[Entry], limits: ArchiveLimits, nested_allowed: tuple[str, ...]) -> None:
    upload = limits.upload
    seen: set[str] = set()
    size = packed = 0
    for entry in entries:
        name = quoted(entry.name)
        if fault := path_fault(entry.name):
            upload.unsafe(f"the entry {name} {fault}")
        # A file and a folder of one name are as ambiguous as two files.
        key = entry.name.removesuffix("/")
        if key in seen:
            upload.unsafe(f"the entry {name} occurs twice, and programs differ in which of them they read")
        seen.add(key)
        if entry.nested is not None and not entry.name.endswith(nested_allowed or ("\0",)):
            upload.unsafe(
                f"the entry {name} is itself an archive ({entry.nested}): put its files in directly"
            )
        check_size(entry, limits)
        size, packed = size + entry.size, packed + entry.packed_size
        if size > limits.max_total_bytes:
            upload.unsafe(f"it unpacks to more than the {limits.max_total_bytes} bytes allowed (at {name})")
    check_ratio("the archive", size, packed, limits)


def check_size(entry: Entry, limits: ArchiveLimits) -> None:
    """Check what an entry claims to unpack to.

    Raises:
        HardeningError: ``..._UNSAFE`` if it is too large, or packed too tightly to be honest.
    """
    if entry.size > limits.max_entry_bytes:
        limits.upload.unsafe(
            f"the entry {quoted(entry.name)} unpacks to {entry.size} bytes; "
            f"{limits.max_entry_bytes} are allowed"
        )
    check_ratio(f"the entry {quoted(entry.name)}", entry.size, entry.packed_size, limits)


def check_ratio(what: str, size: int, packed: int, limits: ArchiveLimits) -> None:
    """Check that something does not unpack to far more than it is.

    Args:
        what: Its name, for errors.
        size: Bytes it unpacks to.
        packed: Bytes it is.
        limits: What is allowed.

    Raises:
        HardeningError: ``..._UNSAFE``, with both sizes and the limit.
    """
    if size > limits.ratio_floor_bytes and size > limits.max_ratio * packed:
        limits.upload.unsafe(
            f"{what} unpacks from {packed} bytes to {size}, {size // max(packed, 1)} times as much; "
            f"{limits.max_ratio} times is allowed"
        )
