"""`launcher.py UID GID [WRITABLE READABLE...] -- COMMAND`: starts a program as a user who cannot reach it.

Root's Python often lies where nobody else may pass: below `/root`, mode 0700. Run by root, this makes a mount
namespace of its own, in which each closed directory on the way is an empty one that can be passed, and holds
nothing but what was named, under its own path. Only then does it change to the user, for good, and become the
program. The rest of the machine sees none of it, and the mounts end with the program.

Where bubblewrap has made such a namespace already, no directories are named, and it only changes the user.

It is run by its path with `-I -S` and imports nothing but the standard library.
"""

import ctypes
import os
import stat
import sys
from pathlib import Path

_CLONE_NEWNS = 0x0002_0000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 0x1, 0x2, 0x4, 0x20
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x4_0000

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Do what the module says.

    Raises:
        OSError: The kernel refused; the program was not started.
    """
    end = sys.argv.index("--")
    uid, gid = map(int, sys.argv[1:3])
    places = [Path(path) for path in sys.argv[3:end]]
    command = sys.argv[end + 1 :]
    if places:
        here = Path.cwd()
        _call("unshare", _CLONE_NEWNS)
        _mount(None, "/", flags=_MS_REC | _MS_PRIVATE)
        _unveil(places[:1], places[1:], uid, gid)
        os.chdir(here)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.execv(command[0], command)  # noqa: S606 - our own words, no shell


def _unveil(writable: list[Path], readable: list[Path], uid: int, gid: int) -> None:
    """Make directories reachable, and hide what lies beside them."""
    closed = {path: door for path in (*writable, *readable) if (door := _closed_door(path, uid, gid))}
    # Opened before anything is hidden; the outermost first, which brings those within it.
    held = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in sorted(closed)}
    for door in sorted(set(closed.values())):
        _mount("none", str(door), kind="tmpfs", flags=_MS_NOSUID | _MS_NODEV, options="mode=0755,size=1m")
    for path, descriptor in held.items():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", str(path), flags=_MS_BIND | _MS_REC)
        if path in readable:
            _mount(None, str(path), flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
        os.close(descriptor)


def _closed_door(path: Path, uid: int, gid: int) -> Path | None:
    """The first directory on the way to `path` that the user may not pass."""
    for directory in reversed(path.parents):
        if not _may_pass(directory.stat(), uid, gid):
            return directory
    return None


def _may_pass(status: os.stat_result, uid: int, gid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _mount(
    source: str | None, target: str, *, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _call("mount", *words[:3], ctypes.c_ulong(flags), words[3])


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
