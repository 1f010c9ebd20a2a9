"""Running a server that refuses root when we are root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

_ORDINARY = "nobody"


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


def ordinary_account() -> Account | None:
    """The account for a server that refuses root, or None where we are an ordinary user ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_ORDINARY)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
