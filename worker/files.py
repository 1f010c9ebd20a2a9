"""Takes files out of a child's hands."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from worker.endings import ProtocolViolation
from worker.removal import remove_tree

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileMissing(ProtocolViolation):
    """There is no such file."""


def take(source: Path, target: Path, *, max_bytes: int) -> Path:
    """Move a file to where the child's user cannot replace it, then look at what it is.

    Args:
        source: The file; the directory it lies in may be the child's, those above that are not.
        target: Where to move it, on the same file system.
        max_bytes: Its largest size.

    Returns:
        Where it is now.

    Raises:
        FileMissing: There is none.
        ProtocolViolation: It is no plain file, empty, or too large.
    """
    name = source.name
    try:
        # Held open, the directory cannot become a link to somebody else's meanwhile.
        directory = os.open(source.parent, _DIRECTORY)
        try:
            os.rename(name, target, src_dir_fd=directory)
        finally:
            os.close(directory)
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileMissing(f"{name} is missing") from error
    except OSError as error:
        with suppress(OSError):  # a link, say, which was moved before it could not be opened
            target.unlink()
        raise ProtocolViolation(f"{name} is no file") from error
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    try:
        _judge(name, status, max_bytes)
    except ProtocolViolation:
        # Left there, what the child still writes to would be counted by nobody.
        _remove(target, status)
        raise
    return target


def _judge(name: str, status: os.stat_result, max_bytes: int) -> None:
    # A second link would be a file of somebody else's.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise ProtocolViolation(f"{name} is no plain file")
    if not 0 < status.st_size <= max_bytes:
        raise ProtocolViolation(f"{name} has {status.st_size} bytes, of at most {max_bytes}")


def _remove(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        remove_tree(path)
    else:
        path.unlink()
