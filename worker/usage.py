"""What a hostile process takes of memory and disk, as seen from outside.

It may hide: memory in shared pages, in swap or in page tables, files by deleting them while they are open, by
closing the directory they lie in, or below more directories than a path can name.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Mapped files are not among them: the kernel can drop their pages.
_MEMORY = re.compile(r"^(?:RssAnon|RssShmem|VmSwap|VmPTE|HugetlbPages):\s+(\d+) kB$", re.MULTILINE)
_THREADS = re.compile(r"^Threads:\s+(\d+)$", re.MULTILINE)
_BLOCK_SHIFT = 9
_MAX_MAPPINGS_LENGTH = 4 << 20  # those of a training take a twentieth of it


class HiddenFilesError(Exception):
    """Something cannot be looked into; why, in a few words."""


@dataclass(frozen=True)
class DiskUse:
    """Bytes of the blocks, and how many files and directories."""

    bytes: int
    files: int


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
            status = Path(f"/proc/{member}/status").read_text()
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
    total = files = 0
    pending = [str(directory)]
    while pending:
        place = pending.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    files += 1
                    with suppress(FileNotFoundError):
                        total += entry.stat(follow_symlinks=False).st_blocks << _BLOCK_SHIFT
                    if entry.is_dir(follow_symlinks=False) and entry.path != str(apart_from):
                        pending.append(entry.path)
                    if total > max_bytes or files > max_files:
                        return DiskUse(total, files)
        except (FileNotFoundError, NotADirectoryError):
            continue  # whoever is watched renames and removes meanwhile
        except OSError as error:
            raise HiddenFilesError(error.strerror) from None
    return DiskUse(total, files)


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


def _open_files(pid: int) -> Iterator[os.stat_result]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield descriptor.stat()


def _mapped_and_deleted(pid: int, directory: Path) -> Iterator[int]:
    beginning, read = f"{directory}/", 0
    with suppress(OSError), Path(f"/proc/{pid}/maps").open(errors="replace") as mappings:
        for line in mappings:
            read += len(line)
            if read > _MAX_MAPPINGS_LENGTH:
                raise HiddenFilesError("too many mappings")
            # address perms offset dev inode pathname
            if line.endswith(" (deleted)\n"):
                inode, path = line.split(maxsplit=5)[4:]
                if path.startswith(beginning):
                    yield int(inode)
