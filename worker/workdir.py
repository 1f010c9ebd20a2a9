"""Whether the work directory is one that nobody else can have prepared, or can change."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_REMEDY = (
    "Whoever can write there could lead a worker's files, which root may own, elsewhere. Set LADDER_WORK_DIR "
    "to a directory in a place where only root and the worker's user can write, such as /var/lib/ladder, "
    "owned by the worker's user and with mode 0700; or remove what is there, and the worker makes it anew"
)


class WorkDirError(OSError):
    """The work directory is not the worker's alone; to a running worker that is a fault of its disk."""


def prepare_work_dir(path: Path) -> None:
    """Make the work directory, or make sure that the one there belongs to the worker or to root alone.

    To be called before anything is put there, each time: what clears old files away (systemd-tmpfiles, below
    `/var/tmp`) may have taken the directory meanwhile, and somebody else its name. It takes a few calls.

    An empty one that is somebody else's is taken over where only root and the worker's user can have put it:
    a volume of a container comes so.

    Raises:
        WorkDirError: Somebody else made it, or can write to it, or to a directory on the way.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(path, _OPEN_DIRECTORY)
    except OSError as error:
        is_link = path.is_symlink() or error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EEXIST}
        fault = "is a link, or no directory" if is_link else f"cannot be used: {error.strerror}"
        raise _refusal(path, fault) from error
    try:
        _refuse_others_parents(path)
        foreign = _fault(os.fstat(directory))
        if foreign is not None:
            _take_over(path, directory, foreign)
    finally:
        os.close(directory)


def _refuse_others_parents(path: Path) -> None:
    for parent, status in _parents(path):
        # Where the sticky bit is set, others can add names, and not change those that are there.
        is_shared = bool(status.st_mode & stat.S_ISVTX)
        if not _is_ours(status):
            raise _refusal(path, f"lies below {parent}, which is of user {status.st_uid}")
        if not is_shared and _is_writable(status):
            raise _refusal(path, f"lies below {parent}, to which others can write")


def _take_over(path: Path, directory: int, fault: str) -> None:
    """Make the directory the worker's, if nobody but root or the worker's user can have put it there."""
    if any(_is_writable(status) for _, status in _parents(path)) or os.listdir(directory):
        raise _refusal(path, fault)
    try:
        os.fchown(directory, os.geteuid(), -1)
        os.fchmod(directory, 0o700)
    except OSError as error:
        raise _refusal(path, fault) from error
    if os.listdir(directory):  # put there in the last moment
        raise _refusal(path, fault)
    log.info("work_dir_taken_over", path=str(path), reason=f"it {fault}")


def _fault(status: os.stat_result) -> str | None:
    if not _is_ours(status):
        return f"is of user {status.st_uid}"
    if status.st_mode & _OTHERS:
        return f"can be written to by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def _parents(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Directories and links on the way, as it is named and as it is."""
    for parent in dict.fromkeys((*path.parents, *path.parent.resolve().parents, path.parent.resolve())):
        yield parent, parent.lstat()


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid in {0, os.geteuid()}


def _is_writable(status: os.stat_result) -> bool:
    """Whether others can write to a directory; the worker's own group and root's are not others."""
    if stat.S_ISLNK(status.st_mode):
        return False
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()}
    return bool(status.st_mode & stat.S_IWOTH or by_group)


def _refusal(path: Path, fault: str) -> WorkDirError:
    return WorkDirError(f"LADDER_WORK_DIR, {path}, {fault}. {_REMEDY}.")
