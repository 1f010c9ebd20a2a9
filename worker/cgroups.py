"""A control group for each attempt, by which the kernel limits its memory (cgroup v2, cgroups(7)).

The groups are made below one that was delegated to this worker: by systemd's ``Delegate=yes``, by a container
whose ``/sys/fs/cgroup`` may be written to, or by a machine on which nobody else manages groups.
"""

import errno
import fcntl
import os
import re
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger(__name__)

_CONTROLLERS = ("memory", "pids")
_WORKERS = "ladder-workers"
_ATTEMPT = "ladder-attempt-"
_EMPTY_SECONDS = 10.0
# systemd's mark on a group that it leaves to a service; the second can be read without being root.
_MARKS = ("trusted.delegate", "user.delegate")


class NotDelegatedError(Exception):
    """This process may make no groups; why."""


@dataclass(frozen=True)
class Limit:
    """What the processes of one group may take together."""

    memory_bytes: int
    processes: int


class Cgroup:
    """The group of one attempt, from entering to leaving; whoever is in it by then is killed."""

    def __init__(self, path: Path, limit: Limit) -> None:
        self.limit = limit
        self._path = path
        self._leaving = ExitStack()

    def __enter__(self) -> Self:
        self._path.mkdir()
        with ExitStack() as undo:
            undo.callback(_remove, self._path)
            undo.callback(os.close, _lock(self._path))
            self._write("memory.max", self.limit.memory_bytes)
            with suppress(FileNotFoundError):  # a kernel without swap
                self._write("memory.swap.max", 0)
            self._write("memory.oom.group", 1)
            self._write("pids.max", self.limit.processes)
            self._leaving = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.close()

    def add(self, pids: Iterable[int]) -> None:
        """Move processes into the group; what they have taken so far is not counted.

        Raises:
            OSError: The kernel refused.
        """
        for pid in pids:
            with suppress(ProcessLookupError):
                self._write("cgroup.procs", pid)

    @property
    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        match = re.search(r"^oom_kill (\d+)$", (self._path / "memory.events").read_text(), re.MULTILINE)
        return int(match[1]) if match else 0

    def _write(self, name: str, value: int) -> None:
        (self._path / name).write_text(str(value))


class Cgroups:
    """The groups below one that was delegated to this worker."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def group(self, name: str, limit: Limit) -> Cgroup:
        """A group that does not exist yet; enter it."""
        return Cgroup(self._base / f"{_ATTEMPT}{name}", limit)

    def remove_abandoned(self) -> int:
        """Remove the groups of workers that were killed.

        Returns:
            How many there were.
        """
        removed = 0
        for path in self._base.glob(f"{_ATTEMPT}*"):
            try:
                lock = _lock(path)
            except OSError:
                continue  # its worker is alive, or has just removed it
            try:
                removed += _remove(path)
            finally:
                os.close(lock)
        return removed


def find_delegated() -> Cgroups:
    """Find the group that was delegated to this worker, and make it ready to have others below it.

    Raises:
        NotDelegatedError: There is none.
    """
    try:
        mount, own = _own_group()
        base = _delegated_base(mount, own)
        _enable(base, holds_us=base == own)
    except OSError as error:
        raise NotDelegatedError(str(error)) from error
    return Cgroups(base)


def delegated_cgroups() -> Cgroups | None:
    """The same, rid of what killed workers left; where there is none, the log says why."""
    try:
        cgroups = find_delegated()
    except NotDelegatedError as reason:
        log.info("memory_watched_by_parent", reason=str(reason))
        return None
    log.info("memory_limited_by_cgroups", abandoned=cgroups.remove_abandoned())
    return cgroups


def memory_limit() -> int | None:
    """The least memory that this process' group and those above it may have."""
    try:
        mount, own = _own_group()
    except (OSError, NotDelegatedError):
        return None
    limits = []
    for group in (own, *own.parents):
        if group.is_relative_to(mount):
            with suppress(OSError, ValueError):  # the root has none, and one without says "max"
                limits.append(int((group / "memory.max").read_text()))
    return min(limits, default=None)


def _own_group() -> tuple[Path, Path]:
    """Where groups are mounted, and which is ours."""
    # id parent device root mountpoint options [optional...] - type source options
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = [(line[3], Path(line[4])) for line in mounts if line[line.index("-") + 1] == "cgroup2"]
    ours = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    if not places or not ours:
        raise NotDelegatedError("cgroup v2 is not mounted")
    root, mount = places[0]
    return mount, mount / Path(ours[1]).relative_to(root)


def _delegated_base(mount: Path, own: Path) -> Path:
    candidates = [own]
    if own.name == _WORKERS or _is_marked(own.parent):
        candidates.append(own.parent)
    for group in candidates:
        if group.is_relative_to(mount) and (group == mount or _is_marked(group) or _was_given_to_us(group)):
            controllers = (group / "cgroup.controllers").read_text().split()
            if missing := set(_CONTROLLERS).difference(controllers):
                raise NotDelegatedError(f"{group} has no controllers for {', '.join(sorted(missing))}")
            return group
    raise NotDelegatedError(f"{own} is not marked as delegated")


def _is_marked(group: Path) -> bool:
    for mark in _MARKS:
        with suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def _was_given_to_us(group: Path) -> bool:
    """A service's group is its user's only if it is delegated; a login's always is, and remains systemd's."""
    return 0 != group.stat().st_uid == os.geteuid() and "/user@" not in str(group)


def _enable(base: Path, *, holds_us: bool) -> None:
    """Let groups below have limits; where processes are in the group itself, they have to move out of it."""
    if holds_us and (base / "cgroup.type").exists():  # which the root of all groups has not, and need not
        workers = base / _WORKERS
        workers.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (workers / "cgroup.procs").write_text(pid)
    words = " ".join(f"+{name}" for name in _CONTROLLERS)
    (base / "cgroup.subtree_control").write_text(words)


def _lock(path: Path) -> int:
    """Lock a group; the lock ends with the process at the latest."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(path: Path) -> bool:
    try:
        with suppress(FileNotFoundError):  # before Linux 5.14; what is in it was killed by its process group
            (path / "cgroup.kill").write_text("1")
        _wait_until_empty(path / "cgroup.events")
        path.rmdir()
    except OSError:
        log.warning("cgroup_left_behind", path=str(path), exc_info=True)
        return False
    return True


def _wait_until_empty(events: Path) -> None:
    deadline = time.monotonic() + _EMPTY_SECONDS
    with events.open() as file:
        changes = select.poll()
        changes.register(file, select.POLLPRI)
        while "populated 0" not in file.read():
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "processes are still in it", str(events.parent))
            changes.poll(1_000)
            file.seek(0)
