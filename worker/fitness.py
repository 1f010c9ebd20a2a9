"""Whether this worker can do any job: its disk, its clock, and its way to the object store.

After an outage it tries them as an attempt uses them, and claims nothing before they work: a worker that is
ill would otherwise take every job of a queue in turn, and give each of them back.
"""

import os
import shutil
import tempfile
import threading

import structlog
import urllib3

from ladder_jobs.objects import ObjectStore, StoreError
from worker import metrics
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

_PROBE_BYTES = 1 << 20
_MAX_PAUSE_SECONDS = 300.0
_MAX_PROBE_PAUSE_SECONDS = 60.0
# Connections of its own: those of transfers wait long, and try again.
_CONNECT_SECONDS, _READ_SECONDS = 2.0, 3.0


class Fitness:
    """What a worker knows about itself; its attempts tell, and it asks before each claim."""

    def __init__(self, settings: WorkerSettings, shutdown: threading.Event) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._outages = 0
        impatient = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS), maxsize=1, retries=False
        )
        self._store = ObjectStore(settings, http=impatient)

    def ailment(self) -> str | None:
        """Try disk and store for some seconds at most, and say what does not work."""
        try:
            self._try_disk()
            self._store.prove()
        except StoreError as error:
            return str(error)
        except OSError as error:
            return f"the disk of {self._settings.work_dir} fails: {error.strerror or error}"
        return None

    def note_outage(self) -> None:
        """An attempt was ended by something that has nothing to do with its job."""
        self._outages += 1

    def note_success(self) -> None:
        """An attempt came to an end of its own."""
        self._outages = 0

    def wait(self) -> bool:
        """Wait until the worker can do jobs, which it can unless it has met an outage; longer after each.

        Returns:
            False when it is to stop instead.
        """
        if self._outages:
            pause = self._settings.retry_seconds * 2.0 ** (self._outages - 1)
            self._shutdown.wait(min(_MAX_PAUSE_SECONDS, pause))
            self._wait_until_cured()
        return not self._shutdown.is_set()

    def _wait_until_cured(self) -> None:
        pause = self._settings.retry_seconds
        while not self._shutdown.is_set():
            ailment = self.ailment()
            metrics.UNFIT.set(ailment is not None)
            if ailment is None:
                return
            log.error("worker_unfit", reason=ailment, again_seconds=pause)
            self._shutdown.wait(pause)
            pause = min(_MAX_PROBE_PAUSE_SECONDS, 2 * pause)

    def _try_disk(self) -> None:
        directory, least = self._settings.work_dir, self._settings.min_free_bytes
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        if free < least:
            raise OSError(f"{free >> 20} MiB are free, fewer than the {least >> 20} of LADDER_MIN_FREE_BYTES")
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
