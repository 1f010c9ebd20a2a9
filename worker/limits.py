"""What one attempt may take: time, silence, memory and disk, as its parent measures them."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from ladder_schema.errors import ErrorCode
from worker.runtime import Runtime
from worker.settings import WorkerSettings

# Walking a directory costs more than reading one file of /proc.
_DISK_SECONDS = 1.0


class Limits:
    """Watches one child; ask it often.

    A child is one process: its sandbox lets it start threads only. So its own memory is all of its memory.
    """

    def __init__(self, settings: WorkerSettings, runtime: Runtime, pid: int, output: Path) -> None:
        """Take the settings, the job's time, the child, and the directory it writes to."""
        self._settings = settings
        self._max_memory_bytes = settings.max_memory_bytes or default_memory_limit()
        self._runtime = runtime
        self._pid = pid
        self._output = output
        self._progressed = time.monotonic()
        self._disk_at = 0.0

    def note_progress(self) -> None:
        """The child has told where it stands."""
        self._progressed = time.monotonic()

    def exceeded(self) -> tuple[ErrorCode, str] | None:
        """The first limit that is exceeded, and a sentence about it."""
        settings, now = self._settings, time.monotonic()
        if self._runtime.is_over:
            return ErrorCode.TIME_LIMIT, self._runtime.as_job_error(None).message
        if now - self._progressed > settings.job_idle_seconds:
            message = f"The job made no progress for {settings.job_idle_seconds:.0f} s."
            return ErrorCode.IDLE_LIMIT, message
        if memory_bytes(self._pid) > self._max_memory_bytes:
            mib = self._max_memory_bytes >> 20
            message = f"The job needed more than the {mib} MiB of memory it may have."
            return ErrorCode.OUT_OF_MEMORY, message
        if now >= self._disk_at:
            self._disk_at = now + _DISK_SECONDS
            if disk_bytes(self._output) > settings.max_disk_bytes:
                message = f"The job wrote more than the {settings.max_disk_bytes >> 20} MiB of disk allowed."
                return ErrorCode.DISK_LIMIT, message
        return None


def memory_bytes(pid: int) -> int:
    """Anonymous and shared pages of a process; mapped files can be dropped by the kernel and do not count."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(kib) for kib in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", status, re.MULTILINE)) << 10


def disk_bytes(directory: Path) -> int:
    """Blocks that the files below a directory take; links are not followed."""
    total = 0
    pending = [str(directory)]
    while pending:
        # Whoever is watched renames and removes meanwhile.
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks << 9
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total


def default_memory_limit() -> int:
    """What one job may take where no setting says so: nine tenths of what there is, so that it dies alone."""
    there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container may have less than its machine; one without a limit of its own says "max".
    with suppress(OSError, ValueError):
        there_is = min(there_is, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return there_is * 9 // 10
