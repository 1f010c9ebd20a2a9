"""Keeps a claimed job this worker's, and carries its progress to Postgres."""

import contextvars
import threading
from types import TracebackType
from typing import Protocol, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs import claims, health
from ladder_jobs.claims import Answer, Claim, LeaseLost
from ladder_schema.jobs import Stage
from worker.endings import Cause, Interrupted
from worker.metrics import HEARTBEAT_FAILURES, HEARTBEAT_SECONDS
from worker.settings import WorkerSettings

STUCK_SECONDS = 60.0
"""How long a loop of a running attempt may take for one turn: longer than any wait for Postgres."""

log = structlog.get_logger(__name__)


class Rider(Protocol):
    """Something that heartbeats take to Postgres."""

    def write(self, session: Session) -> None:
        """Write in a heartbeat's transaction; the job is still ours there."""
        ...

    def confirm(self) -> None:
        """The transaction was committed."""
        ...


class Lease:
    """Renews a claim in a thread of its own, so that nothing the supervisor does can delay a heartbeat.

    A database that does not answer is no reason to stop: the lease may run out meanwhile and the job be
    claimed elsewhere, but then the next answer is `LOST` and every write of ours is refused by its token. A
    restart of Postgres therefore costs a long training nothing.
    """

    def __init__(self, sessions: sessionmaker[Session], claim: Claim, settings: WorkerSettings) -> None:
        self._sessions = sessions
        self._claim = claim
        self._lease_seconds = settings.lease_seconds
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._lock = threading.Lock()
        self._pending: dict[Stage, float] = {}
        self._stage: Stage | None = None
        self._answer = Answer.GO_ON
        self._is_broken = False
        self._closing = False
        self._wake = threading.Event()
        self._rider: Rider | None = None
        # In our context, so that its log lines name the job, too.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._beat_until_closed,),
            name=f"lease-{claim.job_id}",
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join()

    @property
    def answer(self) -> Answer:
        """What Postgres said last."""
        return self._answer

    @property
    def is_broken(self) -> bool:
        """Whether nobody renews it any more, for a fault of this process; the log has the traceback."""
        return self._is_broken

    def check(self) -> None:
        """Make sure the work is still wanted, and still this worker's.

        Raises:
            Interrupted: It is not.
        """
        if self._answer is not Answer.GO_ON:
            raise Interrupted(Cause.LOST if self._answer is Answer.LOST else Cause.CANCEL)
        if self._is_broken:
            raise Interrupted(Cause.BROKEN)

    def carry(self, rider: Rider) -> None:
        """From now on write what the rider has with every heartbeat."""
        self._rider = rider

    def report(self, stage: Stage, progress: float) -> None:
        """Note where the job stands: a new stage is written at once, all else with the next heartbeat."""
        with self._lock:
            self._pending[stage] = progress
            is_new_stage, self._stage = stage is not self._stage, stage
        if is_new_stage:
            self._wake.set()

    def write_pending(self, session: Session) -> None:
        """Write what no heartbeat has carried yet, in the transaction that settles the job.

        Raises:
            LeaseLost: The job is no longer this worker's.
        """
        with self._lock:
            reports = dict(self._pending)
        for stage, progress in reports.items():
            claims.record_progress(session, self._claim, stage, progress)

    def _beat_until_closed(self) -> None:
        try:
            while not (self._closing or self._answer is Answer.LOST):
                health.beat("lease", within=STUCK_SECONDS)
                self._beat()
                self._wake.wait(self._heartbeat_seconds)
                self._wake.clear()
        except BaseException:
            # First of all: what broke this thread may be what writes the log.
            self._is_broken = True
            log.exception("heartbeats_ended")
        finally:
            health.rest("lease")

    def _beat(self) -> None:
        with self._lock:
            reports = dict(self._pending)
        rider = self._rider
        try:
            with HEARTBEAT_SECONDS.time(), self._sessions.begin() as session:
                answer = claims.heartbeat(session, self._claim, lease_seconds=self._lease_seconds)
                if answer is not Answer.LOST:
                    for stage, progress in reports.items():
                        claims.record_progress(session, self._claim, stage, progress)
                    if rider is not None:
                        rider.write(session)
        except LeaseLost:
            answer = Answer.LOST
        except (SQLAlchemyError, OSError) as error:
            HEARTBEAT_FAILURES.inc()
            log.warning("heartbeat_failed", error=type(error).__name__)
            return
        if rider is not None and answer is not Answer.LOST:
            rider.confirm()
        with self._lock:
            # Only now: until its commit, whoever settles the job may have to write them.
            self._pending = {
                stage: progress for stage, progress in self._pending.items() if reports.get(stage) != progress
            }
        self._answer = answer
