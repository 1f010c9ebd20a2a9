"""The private directory of one attempt."""

import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from worker.identity import Identity
from worker.removal import remove_tree
from worker.workdir import prepare_work_dir

log = structlog.get_logger(__name__)

_LOCK_SUFFIX = ".lock"

INPUTS = "inputs"
"""The one directory of an attempt in which nothing is the child's doing."""


class Workspace:
    """Files of one attempt, removed when it ends.

    ```
    <root>.lock       held by the worker whose attempt this is
    <root>/           0700, or 0710 and the child's group where the child is a user of its own
      inputs/         the uploads and earlier checkpoints, which the child may read
      output/         0700, the child's: its current directory, HOME and TMPDIR
      results/        0700, the worker's: what was taken from output/
      checkpoints/    0700, the worker's: likewise, on their way to the store
      child.log       what the child wrote to its standard error
    ```
    """

    def __init__(self, root: Path, identity: Identity | None) -> None:
        """Take the place, `<work directory>/<job>/<attempt>`, and who the child will be.

        Entering raises `worker.workdir.WorkDirError` where the work directory is not the worker's alone any
        more.
        """
        self.root = root
        self.inputs = root / INPUTS
        self.output = root / "output"
        self.results = root / "results"
        self.checkpoints = root / "checkpoints"
        self.log = root / "child.log"
        self.identity = identity
        self._leaving = ExitStack()

    def __enter__(self) -> Self:
        job_dir = self.root.parent
        prepare_work_dir(job_dir.parent)
        job_dir.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as undo:
            undo.callback(os.close, _take_lock(self.root))
            undo.callback(_remove, self.root)
            for directory in (self.root, self.inputs, self.output, self.results, self.checkpoints):
                directory.mkdir(mode=0o700)
            if self.identity is not None:
                for directory in (job_dir.parent, job_dir):
                    # Shared with attempts of other users: to be passed, not to be read.
                    _give(directory, os.geteuid(), -1, mode=0o711)
                _give(self.output, self.identity.uid, self.identity.gid, mode=0o700)
            for directory in (self.root, self.inputs):
                self._open_to_child(directory)
            self._leaving = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()

    def share(self, directory: Path) -> None:
        """Make a directory that the child may pass."""
        directory.mkdir(mode=0o700)
        self._open_to_child(directory)

    def _open_to_child(self, directory: Path) -> None:
        if self.identity is not None:
            _give(directory, os.geteuid(), self.identity.gid, mode=0o710)

    def hand_over(self, path: Path) -> None:
        """Let the child read an input, and nobody change it."""
        _give(path, -1, -1 if self.identity is None else self.identity.gid, mode=0o440)


def _give(path: Path, uid: int, gid: int, *, mode: int) -> None:
    """Change whose a file or directory is, and never what a link in its place would name."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # While it is still this user's: what is another's already takes one capability more, CAP_FOWNER.
        os.fchmod(descriptor, mode)
        os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)


def remove_abandoned(work_dir: Path) -> int:
    """Remove what attempts left behind whose worker was killed.

    Returns:
        How many there were.
    """
    removed = 0
    for lock_path in work_dir.glob(f"*/*{_LOCK_SUFFIX}"):
        root = lock_path.with_suffix("")
        try:
            lock = _take_lock(root)
        except OSError:
            continue  # held: its worker is alive, here or in another container with the same directory
        removed += _remove(root)
        os.close(lock)
    return removed


def _take_lock(root: Path) -> int:
    """Lock a directory that may not exist yet; the lock ends with the process at the latest."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(root.with_suffix(_LOCK_SUFFIX), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(root: Path) -> bool:
    """Remove an attempt's files, then the lock, by which `remove_abandoned` finds them."""
    try:
        if root.exists():
            remove_tree(root)
    except OSError:
        log.warning("workspace_left_behind", path=str(root), exc_info=True)
        return False
    root.with_suffix(_LOCK_SUFFIX).unlink(missing_ok=True)
    with suppress(OSError):  # another attempt's files may be in it
        root.parent.rmdir()
    return True
