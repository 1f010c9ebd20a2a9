"""Takes a child's log to where its owner can read it: pieces to Postgres, the whole to the object store."""

import threading
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from ladder_jobs import joblogs
from ladder_jobs.claims import Answer, Claim
from ladder_jobs.joblogs import MAX_CHUNK_BYTES
from ladder_jobs.objects import ObjectStore, StoredObject, StoreError, attempt_key
from worker.breakable import Grace, breakable
from worker.endings import Cause, Interrupted
from worker.lease import Lease
from worker.transfer import store_file

log = structlog.get_logger(__name__)

_SECONDS = 30.0
_HURRIED_SECONDS = 0.5

MEDIA_TYPE = "text/plain; charset=utf-8"


class Growth:
    """What a log has grown by, in pieces that heartbeats carry.

    A piece that was read is kept until its commit is certain, so that what is sent again is the same.
    """

    def __init__(self, claim: Claim, path: Path) -> None:
        """Take the job, and the file that grows; it need not exist yet."""
        self._claim = claim
        self._path = path
        self._start = 0
        self._piece = b""
        self._budget: int | None = None
        self._is_sent = False

    def write(self, session: Session) -> None:
        """Write the next piece in a heartbeat's transaction, as far as the job's budget lets us."""
        if self._budget is None:
            self._budget = joblogs.live_budget(session, self._claim.job_id)
        self._piece = self._piece or self._read()
        self._is_sent = bool(self._piece) and joblogs.chunk_cost(self._piece) <= self._budget
        if self._is_sent:
            joblogs.add_chunk(session, self._claim, self._start, self._piece)

    def confirm(self) -> None:
        """The transaction was committed."""
        if self._is_sent and self._budget is not None:
            self._budget -= joblogs.chunk_cost(self._piece)
            self._start += len(self._piece)
            self._piece = b""

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._start)
                return file.read(MAX_CHUNK_BYTES)
        except OSError:  # not there yet, or cannot be read: no reason for the heartbeat to fail
            return b""


def store_log(
    store: ObjectStore, claim: Claim, path: Path, lease: Lease, shutdown: threading.Event
) -> StoredObject | None:
    """Store the whole log of an attempt whose child is gone.

    A log is worth no job: where the store fails, or takes long while somebody waits for the end, the pieces
    that heartbeats carried remain the log.

    Returns:
        What was stored; None where there is nothing, or it could not be stored.
    """
    grace, hurried = Grace(_SECONDS), Grace(_HURRIED_SECONDS)

    def check() -> None:
        if lease.answer is Answer.LOST:
            raise Interrupted(Cause.LOST)
        if grace.is_over() or hurried.is_over(hurry=lease.answer is Answer.CANCEL or shutdown.is_set()):
            raise StoreError("it took too long")

    try:
        if path.stat().st_size == 0:
            return None
        key = attempt_key(claim.job_id, claim.attempt, "child.log")
        return breakable(partial(store_file, store, key, path, MEDIA_TYPE), check, linger_seconds=0.0)
    except (FileNotFoundError, Interrupted):
        return None
    except (OSError, StoreError) as error:
        log.warning("log_not_stored", error=str(error))
        return None
