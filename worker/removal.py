"""Removes a directory that a hostile program has filled."""

import os
import uuid
from pathlib import Path

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(root: Path) -> None:
    """Remove a directory and all within it, however deep it is nested and whatever its modes.

    Directories within directories are first moved to the top, so that neither the depth of the tree nor the
    length of a path matters; no symbolic link is followed, not even one that is put in place meanwhile.

    Raises:
        OSError: Something is left, perhaps because somebody still writes to it.
    """
    _open_up(str(root))
    top = os.open(root, _OPEN_DIRECTORY)
    try:
        waiting = _empty(top, top)
        while waiting:
            name = waiting.pop()
            _open_up(name, top)
            directory = os.open(name, _OPEN_DIRECTORY, dir_fd=top)
            try:
                waiting += _empty(directory, top)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    root.rmdir()


def _empty(directory: int, top: int) -> list[str]:
    """Delete what is no directory, move to the top what is one.

    Returns:
        The names there.
    """
    with os.scandir(directory) as scan:
        entries = list(scan)
    names = []
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=directory)
        elif directory == top:
            names.append(entry.name)
        else:
            _open_up(entry.name, directory)
            names.append(uuid.uuid4().hex)
            os.rename(entry.name, names[-1], src_dir_fd=directory, dst_dir_fd=top)
    return names


def _open_up(name: str, parent: int | None = None) -> None:
    """Give ourselves access to a directory of our own; root has it, and must change nothing behind a link."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=parent)
