"""What is left on the disk of the work directory: room for bytes, and for files."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MIN_FREE_FILES = 10_000
"""Files that there must be room for. Hardly ever known to run out, unlike bytes, so no setting."""


@dataclass(frozen=True)
class Room:
    """The disk that a directory is on.

    Attributes:
        bytes: Its size.
        free_bytes: Those that are left to a user who is not root.
        files: How many files it can have, if it was made for a certain number; else 0.
        free_files: How many more.
    """

    bytes: int
    free_bytes: int
    files: int
    free_files: int

    @classmethod
    def on_disk_of(cls, directory: Path) -> Self:
        """Ask the disk.

        Raises:
            OSError: It does not answer.
        """
        system = os.statvfs(directory)
        return cls(
            bytes=system.f_blocks * system.f_frsize,
            free_bytes=system.f_bavail * system.f_frsize,
            files=system.f_files,
            free_files=system.f_favail,
        )

    def lacks(self, least_bytes: int) -> str | None:
        """What there is too little of, in words; None where there is enough."""
        if self.free_bytes < least_bytes:
            return f"fewer than {least_bytes >> 20} MiB"
        if self.files and self.free_files < MIN_FREE_FILES:
            return f"room for fewer than {MIN_FREE_FILES} files"
        return None


def require_room(directory: Path, least_bytes: int) -> None:
    """Make sure that a disk has so many bytes left, and room for files.

    Raises:
        OSError: It has not (``ENOSPC``), or does not answer.
    """
    if lack := Room.on_disk_of(directory).lacks(least_bytes):
        raise OSError(errno.ENOSPC, f"{lack} left", str(directory))
