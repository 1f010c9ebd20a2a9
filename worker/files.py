"""Takes files out of a child's hands."""

import errno
import os
import stat
from pathlib import Path

from worker.endings import ProtocolViolation

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What a name answers that is no file, or that a child has closed to everybody; others are the disk's faults.
_NO_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EACCES, errno.EPERM})


class FileMissing(ProtocolViolation):
    """There is no such file."""


def take(source: Path, target: Path, *, max_bytes: int) -> Path:
    """Move a file to where the child's user cannot replace it, then look at what it is.

    A child that is alive may have kept the file open and go on writing to it: what is done with it afterwards
    has to bear that. What is refused stays where it was moved to, and whoever refuses a child's file ends the
    child.

    Args:
        source: The file; the directory it lies in may be the child's, those above that are not.
        target: Where to move it, on the same file system.
        max_bytes: Its largest size.

    Returns:
        Where it is now.

    Raises:
        FileMissing: There is none.
        ProtocolViolation: It is no plain file, empty, or too large.
        OSError: The disk failed.
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
        if error.errno not in _NO_FILE:
            raise
        raise ProtocolViolation(f"{name} is no file") from error
    try:
        _judge(name, os.fstat(descriptor), max_bytes)
    finally:
        os.close(descriptor)
    return target


def _judge(name: str, status: os.stat_result, max_bytes: int) -> None:
    # A second link would be a file of somebody else's.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise ProtocolViolation(f"{name} is no plain file")
    if not 0 < status.st_size <= max_bytes:
        raise ProtocolViolation(f"{name} has {status.st_size} bytes, of at most {max_bytes}")
