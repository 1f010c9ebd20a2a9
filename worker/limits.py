"""What one attempt may take: time, silence, memory and disk, as its parent measures them."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ladder_schema.errors import ErrorCode
from worker import cgroups
from worker.room import Room
from worker.runtime import Runtime
from worker.sandbox.confinement import MAX_THREADS
from worker.settings import WorkerSettings
from worker.usage import (
    DiskUse,
    HiddenFilesError,
    deleted_bytes,
    disk_use,
    memory_and_threads,
    standing_still,
)
from worker.workspace import INPUTS

MAX_FILES = 100_000

# Walking a directory costs more than reading a process' status, and reading its mappings holds it up.
_FILES_SECONDS = 1.0

# A child stands still to be looked at for one part in so many of its time, and is never let off for longer.
_STANDSTILL_PART, _MAX_UNSTOPPED_SECONDS = 20, 10.0

Exceeded = tuple[ErrorCode, str]


class Limits:
    """Watches one child; ask it often."""

    def __init__(
        self,
        settings: WorkerSettings,
        runtime: Runtime,
        pid: int,
        root: Path,
        *,
        watches_memory: bool = True,
    ) -> None:
        """Take the child and how to judge it.

        Args:
            settings: The limits.
            runtime: The time the job has.
            pid: The child.
            root: The attempt's directory: all in it but the inputs counts as the child's, what was taken from
                it included.
            watches_memory: Whether nobody else limits its memory and threads.
        """
        self._settings = settings
        self._runtime = runtime
        self._max_memory_bytes = settings.max_memory_bytes or default_memory_limit()
        self._watches_memory = watches_memory
        self._pid = pid
        self._root = root.resolve()
        self._progressed = time.monotonic()
        self._files_at = 0.0
        self._stop_from = 0.0
        self._memory_in_files = 0

    def note_progress(self) -> None:
        """The child has told where it stands."""
        self._progressed = time.monotonic()

    def exceeded(self) -> Exceeded | None:
        """The first limit that is exceeded, and a sentence about it.

        Raises:
            OSError: The disk is full, and not by this job's doing.
        """
        return next(self._all_exceeded(), None)

    def _all_exceeded(self) -> Iterator[Exceeded]:
        settings, now = self._settings, time.monotonic()
        if self._runtime.is_over:
            yield ErrorCode.TIME_LIMIT, self._runtime.as_job_error(None).message
        if now - self._progressed > settings.job_idle_seconds:
            yield ErrorCode.IDLE_LIMIT, f"The job made no progress for {settings.job_idle_seconds:.0f} s."
        if now >= self._files_at:
            self._files_at = now + _FILES_SECONDS
            if reason := self._too_many_files():
                yield ErrorCode.DISK_LIMIT, reason
        if self._watches_memory:
            memory, threads = memory_and_threads(self._pid)
            if memory + self._memory_in_files > self._max_memory_bytes:
                yield ErrorCode.OUT_OF_MEMORY, too_much_memory(self._max_memory_bytes)
            if threads > MAX_THREADS:
                yield ErrorCode.PROTOCOL_VIOLATION, f"The job started more than {MAX_THREADS} threads."

    def _too_many_files(self) -> str | None:
        most = self._settings.max_disk_bytes
        try:
            use = self._settled_files()
        except HiddenFilesError as error:
            return f"The job's files cannot be measured: {error}."
        if use.bytes > most:
            return f"The job wrote more than the {most >> 20} MiB of disk allowed."
        if use.files > MAX_FILES:
            return f"The job made more than {MAX_FILES} files."
        return self._fills_the_disk(use)

    def _fills_the_disk(self, use: DiskUse) -> str | None:
        least, room = self._settings.min_free_bytes, Room.on_disk_of(self._root)
        lack = room.lacks(least)
        if lack is None:
            return None
        own, whole = (use.bytes, room.bytes) if room.free_bytes < least else (use.files, room.files)
        if 2 * own <= whole:
            # Not this job alone: another worker may have room, and so may this one when its neighbours end.
            raise OSError(errno.ENOSPC, f"{lack} left", str(self._root))
        return (
            f"The worker's disk is full, with {lack} left, and more than half of it is this job's: "
            f"{use.bytes >> 20} MiB in {use.files} files."
        )

    def _settled_files(self) -> DiskUse:
        """What the job has on the disk; where something may have moved past the look, as it stands still.

        Where another machine's clock dates the changes, or this one's has been set back, that is so at
        every look.
        """
        use, began = self._files(), time.monotonic()
        if use.is_certain or began < self._stop_from:
            return use
        with standing_still(self._pid):
            use = self._files()
        took = time.monotonic() - began
        self._stop_from = began + min(_MAX_UNSTOPPED_SECONDS, _STANDSTILL_PART * took)
        return use

    def _files(self) -> DiskUse:
        """All that the job has on the disk, deleted or not."""
        most = self._settings.max_disk_bytes
        deleted, self._memory_in_files = deleted_bytes(
            self._pid, self._root, largest=self._settings.max_result_bytes
        )
        use = disk_use(self._root, max_bytes=most, max_files=MAX_FILES, apart_from=self._root / INPUTS)
        return replace(use, bytes=use.bytes + deleted)


def too_much_memory(limit: int) -> str:
    """What is said of a job that needed more than its limit."""
    return f"The job needed more than the {limit >> 20} MiB of memory it may have."


def default_memory_limit() -> int:
    """What one job may take where no setting says so: nine tenths of what there is, so that it dies alone."""
    there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container or a service may have less than its machine.
    return min(there_is, cgroups.memory_limit() or there_is) * 9 // 10


def group_limit(settings: WorkerSettings) -> cgroups.Limit:
    """The same limits, for a kernel that watches over them itself."""
    return cgroups.Limit(settings.max_memory_bytes or default_memory_limit(), MAX_THREADS)
