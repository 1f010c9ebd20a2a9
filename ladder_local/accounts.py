"""Running a server that refuses root when we are root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from ladder_local.errors import LocalStackError

# Not `nobody` if it can be helped: that is who runs the processes that hold uploaded models.
_ORDINARY = ("postgres", "daemon", "nobody")


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def can_enter(self, directory: Path) -> bool:
        """Whether the modes of ``directory`` and everything above it let this user in."""
        return all(self._may_search(path.stat()) for path in (directory, *directory.parents))

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def ordinary_account(directory: Path) -> Account | None:
    """The account for a server that refuses root, or None where we are an ordinary user ourselves.

    Args:
        directory: The server's data; where there is some, its owner stays the one.

    Raises:
        LocalStackError: This system has no account to run it as.
    """
    if os.geteuid() != 0:
        return None
    if directory.exists():
        status = directory.stat()
        return Account(f"user {status.st_uid}", status.st_uid, status.st_gid)
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _ORDINARY:
        if entry := accounts.get(name):
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise LocalStackError(f"there is no account to run Postgres as; it refuses root. Add one of: {_ORDINARY}")
