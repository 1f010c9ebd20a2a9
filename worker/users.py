"""A user for each attempt, where the worker is root: no two that live on one machine share one."""

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from worker.identity import Identity, must_unveil
from worker.settings import WorkerSettings
from worker.workdir import prepare_work_dir

log = structlog.get_logger(__name__)

_LOCKS = "users"


class NoChildUsersError(Exception):
    """Children would have to run as root, which nobody has allowed."""


@dataclass(frozen=True)
class ChildUsers:
    """Users that children may be, lent to one attempt at a time.

    A user's group has the same number, and nobody else is in it.

    Attributes:
        work_dir: Where the workers that share the users keep their files; the locks lie in it.
        first: The first user.
        count: How many there are: as many attempts as can run on this machine at once.
        must_unveil: As for `Identity`.
    """

    work_dir: Path
    first: int
    count: int
    must_unveil: bool = False

    @contextmanager
    def borrow(self) -> Iterator[Identity]:
        """Take a user that nobody is, until the block ends or this process dies.

        A user whose process or files a dead worker left behind stays unused until they are gone.

        Raises:
            OSError: All of them are taken, or the work directory is not the worker's alone any more.
        """
        prepare_work_dir(self.work_dir)
        locks = self.work_dir / _LOCKS
        locks.mkdir(mode=0o700, exist_ok=True)
        for uid in range(self.first, self.first + self.count):
            with _locked(locks / str(uid)) as is_ours:
                # Asked under the lock: what is free now stays so.
                if is_ours and uid not in _owners_of_processes() | self._owners_of_files():
                    yield Identity(uid, uid, must_unveil=self.must_unveil)
                    return
        last = self.first + self.count - 1
        raise OSError(
            errno.EUSERS, f"users {self.first} to {last} are all taken; raise LADDER_CHILD_UIDS", str(locks)
        )

    def _owners_of_files(self) -> set[int]:
        owners = set()
        for root in self.work_dir.glob("*/*"):
            with suppress(OSError):
                owners.add(root.lstat().st_gid)
        return owners


def child_users(settings: WorkerSettings) -> ChildUsers | None:
    """Choose the users of children: others than the worker's where the worker is root.

    Returns:
        The users to change to, or None where children stay what the worker is: because it is no root, or
        because the settings allow children of root and no other user can run Python here.

    Raises:
        NoChildUsersError: The worker is root, its children would be too, and the settings do not allow it.
    """
    if os.geteuid() != 0:
        return None
    unveils = must_unveil(settings.child_uid)
    if unveils is not None:
        return ChildUsers(settings.work_dir, settings.child_uid, settings.child_uids, must_unveil=unveils)
    reason = f"uid {settings.child_uid} cannot run {sys.executable}"
    if not settings.allow_root_children:
        raise NoChildUsersError(
            f"uploaded models would run as root: {reason}. Install Python where every user can read it, "
            "or run the worker as an ordinary user; LADDER_ALLOW_ROOT_CHILDREN=true accepts it."
        )
    log.warning("children_run_as_root", reason=reason)
    return None


def borrowed(users: ChildUsers | None) -> AbstractContextManager[Identity | None]:
    """A user for one attempt; None where children stay what the worker is."""
    return nullcontext() if users is None else users.borrow()


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def _owners_of_processes() -> set[int]:
    owners = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        # The owner of the files in there says less: a process that may not be looked into shows root.
        with suppress(OSError):
            owners |= {int(uid) for uid in re.findall(r"^Uid:\t(\d+)", status.read_text(), re.MULTILINE)}
    return owners
