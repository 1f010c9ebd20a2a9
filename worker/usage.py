"""What a hostile process takes of memory and disk, as seen from outside.

It may hide: memory in shared pages, in swap or in page tables; files by deleting them while they are open, by
closing the directory they lie in, below more directories than a path can name, or by moving directories away
from whoever looks; and both behind a first thread that has ended.
"""

import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Mapped files are not among them: the kernel can drop their pages.
_MEMORY = re.compile(r"^(?:RssAnon|RssShmem|VmSwap|VmPTE|HugetlbPages):\s+(\d+) kB$", re.MULTILINE)
_THREADS = re.compile(r"^Threads:\s+(\d+)$", re.MULTILINE)
_ENDED = re.compile(r"^State:\s+[ZX]", re.MULTILINE)
_AT_REST = frozenset("TtZX")
_BLOCK_SHIFT = 9
# Beyond a tick of the kernel's clock, two changes of a directory have two times.
_TICK_NANOSECONDS = 20_000_000
_STOP_SECONDS = 1.0
_STOP_LOOK_SECONDS = 0.001
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_MAPPINGS_LENGTH = 4 << 20  # those of a training take a twentieth of it


class HiddenFilesError(Exception):
    """Something cannot be looked into; why, in a few words."""


@dataclass(frozen=True)
class DiskUse:
    """What was found.

    Attributes:
        bytes: Of the blocks.
        files: How many files and directories.
        is_certain: Whether no directory changed meanwhile, so that nothing can have been moved out of sight.
    """

    bytes: int
    files: int
    is_certain: bool = True


def family(pid: int) -> Iterator[int]:
    """A process and what it started: where bubblewrap is the outer wall, it stands between."""
    pending = [pid]
    while pending:
        pid = pending.pop()
        yield pid
        with suppress(OSError):
            pending += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def memory_and_threads(pid: int) -> tuple[int, int]:
    """Bytes that a process and what it started keep from others, and how many threads they are."""
    memory = threads = 0
    for member in family(pid):
        with suppress(OSError):
            _, status = _shown_by(member)
            memory += sum(map(int, _MEMORY.findall(status))) << 10
            threads += sum(map(int, _THREADS.findall(status)))
    return memory, threads


def disk_use(directory: Path, *, max_bytes: int, max_files: int, apart_from: Path | None = None) -> DiskUse:
    """What the files below a directory take; links are not followed. It stops counting beyond the limits.

    Args:
        directory: The directory.
        max_bytes: How many bytes are too many.
        max_files: How many files and directories are.
        apart_from: A directory in it whose files do not count.

    Raises:
        HiddenFilesError: There may be more than can be seen.
    """
    began = time.time_ns()
    walk = _Walk(max_bytes, max_files, apart_from)
    walk.pending.append(str(directory))
    while walk.pending and not walk.is_enough:
        with suppress(FileNotFoundError):  # whoever is watched renames and removes meanwhile
            walk.look_into(walk.pending.pop())
    is_certain = walk.is_enough or walk.has_found_all(began - _TICK_NANOSECONDS)
    return DiskUse(walk.bytes, walk.files, is_certain)


_Version = tuple[int, int]
"""A directory's inode and the time of its last change in nanoseconds, which no call can set."""


class _Walk:
    """What was found below a directory so far."""

    def __init__(self, max_bytes: int, max_files: int, apart_from: Path | None) -> None:
        self.bytes = self.files = 0
        self.pending: list[str] = []
        self._max_bytes, self._max_files, self._apart_from = max_bytes, max_files, str(apart_from)
        self._looked_into: dict[str, _Version] = {}

    @property
    def is_enough(self) -> bool:
        """Whether there is too much already."""
        return self.bytes > self._max_bytes or self.files > self._max_files

    def look_into(self, place: str) -> None:
        """Count what is in a directory, and note the directories among it."""
        try:
            directory = os.open(place, _OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(place) from None
        except OSError as error:
            raise HiddenFilesError(error.strerror) from None
        try:
            status = os.fstat(directory)
            self._looked_into[place] = status.st_ino, status.st_ctime_ns
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._count(place, entry)
                    if self.is_enough:
                        return
        finally:
            os.close(directory)

    def has_found_all(self, settled: int) -> bool:
        """Whether each directory is what it was before it was read, and last changed earlier than `settled`.

        Then every one that is there now was there, in the same place, when its parent was read.
        """
        return all(
            version[1] < settled and _version(place) == version
            for place, version in self._looked_into.items()
        )

    def _count(self, place: str, entry: "os.DirEntry[str]") -> None:
        self.files += 1
        with suppress(FileNotFoundError):
            self.bytes += entry.stat(follow_symlinks=False).st_blocks << _BLOCK_SHIFT
        path = f"{place}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and path != self._apart_from:
            self.pending.append(path)


def _version(place: str) -> _Version | None:
    try:
        status = os.lstat(place)
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stop a process and what it started while the block runs; a call that has begun ends first."""
    members = list(family(pid))
    try:
        _signal(members, signal.SIGSTOP)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(map(_is_moving, members)) and time.monotonic() < deadline:
            time.sleep(_STOP_LOOK_SECONDS)
        yield
    finally:
        _signal(members, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_moving(pid: int) -> bool:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                if (thread / "stat").read_text().rpartition(") ")[2][0] not in _AT_REST:
                    return True
    return False


def deleted_bytes(pid: int, directory: Path, *, largest: int) -> tuple[int, int]:
    """Bytes of files that were deleted, or never had a name, and stay for as long as a process keeps them.

    Looking takes the rights of a debugger over the process: root needs ``CAP_SYS_PTRACE`` for it, an ordinary
    user has them over processes of its own. Without, nothing is seen.

    Args:
        pid: The process.
        directory: The one that its files lie below.
        largest: What to count for a file that is only mapped, whose size cannot be seen.

    Returns:
        Bytes on the disk the directory is on, and elsewhere, which is in memory.

    Raises:
        HiddenFilesError: There are more mappings than can be looked through.
    """
    disk: dict[int, int] = {}
    memory: dict[tuple[int, int], int] = {}
    here = directory.stat().st_dev
    for member in family(pid):
        for status in _open_files(member):
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                size = status.st_blocks << _BLOCK_SHIFT
                if status.st_dev == here:
                    disk[status.st_ino] = size
                else:
                    memory[status.st_dev, status.st_ino] = size
        for inode in _mapped_and_deleted(member, directory):
            disk.setdefault(inode, largest)
    return sum(disk.values()), sum(memory.values())


def _shown_by(pid: int) -> tuple[Path, str]:
    """Where in /proc a process shows what all its threads share, and its status: by one that has not ended.

    Raises:
        OSError: It is gone.
    """
    place = Path(f"/proc/{pid}")
    status = (place / "status").read_text()
    for thread in (place / "task").iterdir() if _ENDED.search(status) else ():
        with suppress(OSError):
            other = (thread / "status").read_text()
            if not _ENDED.search(other):
                return thread, other
    return place, status


def _open_files(pid: int) -> Iterator[os.stat_result]:
    with suppress(OSError):
        for descriptor in (_shown_by(pid)[0] / "fd").iterdir():
            with suppress(OSError):
                yield descriptor.stat()


def _mapped_and_deleted(pid: int, directory: Path) -> Iterator[int]:
    beginning, read = f"{directory}/", 0
    with suppress(OSError), (_shown_by(pid)[0] / "maps").open(errors="replace") as mappings:
        for line in mappings:
            read += len(line)
            if read > _MAX_MAPPINGS_LENGTH:
                raise HiddenFilesError("too many mappings")
            # address perms offset dev inode pathname
            if line.endswith(" (deleted)\n"):
                inode, path = line.split(maxsplit=5)[4:]
                if path.startswith(beginning):
                    yield int(inode)
