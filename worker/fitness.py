"""Whether this worker can do any job: its threads, disk, clock and processes, and its way to the store.

After an outage it tries them as an attempt uses them, and claims nothing before they work: a worker that is
ill would otherwise take every job of a queue in turn, and give each of them back.
"""

import os
import tempfile
import time

import structlog
import urllib3

from ladder_jobs.objects import ObjectStore, StoreError
from worker import metrics
from worker.breakable import Grace, breakable
from worker.endings import Cause, Interrupted
from worker.rehearsal import RehearsalError, rehearse
from worker.room import require_room
from worker.tools import Tools
from worker.transfer import Check
from worker.workdir import prepare_work_dir

log = structlog.get_logger(__name__)

_PROBE_BYTES = 1 << 20
_MAX_PAUSE_SECONDS = 300.0
_MAX_DOUBLINGS = 30
_MAX_PROBE_PAUSE_SECONDS = 60.0
# All of it; a child that needs longer before it computes is of no use, and a disk neither.
_PROBE_SECONDS = 150.0
# Connections of its own: those of transfers wait long, and try again.
_CONNECT_SECONDS, _READ_SECONDS = 2.0, 3.0


class Fitness:
    """What a worker knows about itself; its attempts tell, and it asks before each claim."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._settings = tools.settings
        self._shutdown = tools.shutdown
        self._outages = 0
        self._pause_ends_at = 0.0
        impatient = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS), maxsize=1, retries=False
        )
        self._store = ObjectStore(tools.settings, http=impatient)

    def ailment(self, check: Check) -> str | None:
        """Try all that an attempt needs, and say what does not work.

        Args:
            check: Called ten times a second; what it raises ends the trial, and comes out.
        """
        grace = Grace(_PROBE_SECONDS)

        def check_both() -> None:
            check()
            if grace.is_over():
                raise RehearsalError(
                    f"disk, store and a child together take more than {_PROBE_SECONDS:.0f} s"
                )

        try:
            breakable(self._try_all, check_both)
        except (RehearsalError, StoreError) as error:
            return str(error)
        except OSError as error:
            return f"the disk of {self._settings.work_dir} fails: {error.strerror or error}"
        except (MemoryError, RuntimeError) as error:
            return f"the worker has no memory or no threads left: {error or type(error).__name__}"
        return None

    def note_outage(self, ailment: str) -> None:
        """An attempt was ended by this worker's ailment; it pauses from now on, longer after each."""
        pause = self._settings.retry_seconds * 2.0 ** min(self._outages, _MAX_DOUBLINGS)
        pause = min(_MAX_PAUSE_SECONDS, pause)
        self._outages += 1
        self._pause_ends_at = time.monotonic() + pause
        metrics.UNFIT.set(1)
        log.error("worker_unfit", reason=ailment, again_seconds=pause)

    def note_success(self) -> None:
        """An attempt came to an end that had nothing to do with this worker."""
        self._outages = 0

    def wait(self) -> bool:
        """Wait until the worker can do jobs, which it can unless it has met an outage.

        Returns:
            False when it is to stop instead.
        """
        if self._outages:
            self._shutdown.wait(max(0.0, self._pause_ends_at - time.monotonic()))
            self._wait_until_cured()
        return not self._shutdown.is_set()

    def _wait_until_cured(self) -> None:
        pause = self._settings.retry_seconds
        while not self._shutdown.is_set():
            try:
                ailment = self.ailment(self._check_shutdown)
            except Interrupted:
                return
            metrics.UNFIT.set(ailment is not None)
            if ailment is None:
                return
            log.error("worker_unfit", reason=ailment, again_seconds=pause)
            self._shutdown.wait(pause)
            pause = min(_MAX_PROBE_PAUSE_SECONDS, 2 * pause)

    def _check_shutdown(self) -> None:
        if self._shutdown.is_set():
            raise Interrupted(Cause.SHUTDOWN)

    def _try_all(self, check: Check) -> None:
        """The quickest first; that this has a thread of its own has tried that, too."""
        self._try_disk()
        self._store.prove()
        rehearse(self._tools, check)

    def _try_disk(self) -> None:
        directory = self._settings.work_dir
        prepare_work_dir(directory)
        require_room(directory, self._settings.min_free_bytes)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
