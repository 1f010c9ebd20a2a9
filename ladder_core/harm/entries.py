"""What an archive holds, as far as its headers tell."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 512
_ARCHIVE_MAGIC = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
)
_TAR_MAGIC_AT = 257


@dataclass(frozen=True)
class Entry:
    """One file or folder of an archive.

    Attributes:
        name: Its path; a folder's ends in a slash.
        size: Unpacked, in bytes.
        packed_size: In the archive, in bytes; equal to ``size`` where the archive packs as a whole.
        nested: The kind of archive its first bytes say it is, or None.
    """

    name: str
    size: int
    packed_size: int
    nested: str | None = None


@dataclass(frozen=True)
class ArchiveListing:
    """What is in an archive that was found harmless.

    Attributes:
        kind: ``zip`` or ``tar``, or ``file`` where it is no archive.
        entries: In the order of the archive.
    """

    kind: str
    entries: tuple[Entry, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the entries."""
        return tuple(entry.name for entry in self.entries)


def archive_kind(head: bytes) -> str | None:
    """The kind of archive that starts with these bytes, or None.

    Weights are any bytes at all, so short signatures ask for more than themselves.
    """
    for magic, kind in _ARCHIVE_MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"\x1f\x8b\x08") and len(head) >= 10 and head[3] < 32 and head[8] in (0, 2, 4):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2"
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "tar"
    return None
