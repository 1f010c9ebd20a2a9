"""One attempt at one job: inputs, child, results, settlement."""

import errno
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from ladder_jobs import claims, joblogs, tracing
from ladder_jobs.claims import Answer, Claim, LeaseLost, StoredArtifact
from ladder_jobs.objects import StoredObject, attempt_key
from ladder_jobs.states import Outcome
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus
from worker.breakable import Grace, breakable
from worker.endings import (
    Cause,
    Died,
    Dropped,
    Finished,
    Interrupted,
    NotStarted,
    OtherVersion,
    ProtocolViolation,
    Refused,
)
from worker.fitness import Fitness
from worker.joblog import Growth, store_log
from worker.lease import Lease
from worker.results import Result, collect, discard
from worker.tools import Tools
from worker.transfer import Check, store_file
from worker.users import borrowed
from worker.work import Work
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

# The second is also what Postgres calls the end of a transaction in which this process stood still.
DATABASE_OUTAGE = (OperationalError, InternalError, InterfaceError, PoolTimeoutError)

INTERNAL = JobError(
    code=ErrorCode.INTERNAL,
    message="The service failed while running the job; this is not the upload's fault.",
    stage=None,
)
"""The error of a job that the service itself cannot run."""

NO_ROOM = JobError(
    code=ErrorCode.DISK_LIMIT,
    message="No worker had enough room on its disk for the job's files, however often it was tried; post a "
    "smaller dataset, or ask the operator for workers with larger disks.",
    stage=None,
)
"""The error of a job that fits on no disk."""

_T = TypeVar("_T")


class Attempt:
    """Sees one claim through.

    Attributes:
        outcome: How the attempt ended; None until its end is certain.
        ailment: What was found to be wrong with the worker when the attempt met an outage; None if nothing.
    """

    def __init__(self, tools: Tools, claim: Claim, fitness: Fitness) -> None:
        self._tools = tools
        self._claim = claim
        self._fitness = fitness
        self._settings = tools.settings
        self._lease = Lease(tools.sessions, claim, self._settings)
        self.outcome: Outcome | None = None
        self.ailment: str | None = None
        self._log: StoredObject | None = None
        self._is_unsure = False

    def run(self) -> None:
        """Run the job and settle it.

        Raises:
            LeaseLost: The job is another worker's by now; nothing is left of this attempt.
            OtherVersion: The child is of another version than this worker; the job is back in its queue.
            sqlalchemy.exc.SQLAlchemyError: The database failed, and the job may or may not be settled.
        """
        with ExitStack() as held:
            try:
                self._run_or_release(held)
            except OtherVersion:
                try:
                    self.release("its worker is of another version than the process it started")
                except Exception:
                    # Lost, or Postgres is away: whatever becomes of the job, this worker has to end.
                    log.warning("attempt_left_unsettled", exc_info=True)
                raise

    def _run_or_release(self, held: ExitStack) -> None:
        """Run the job; where something else ends its attempt, give it back, holding the lease until then."""
        try:
            self._run(held.enter_context(self._lease))
        except (LeaseLost, OtherVersion, SQLAlchemyError):
            raise
        except Exception as outage:
            # Disk or store, but also no memory, no threads, and what nobody thought of: not the job's fault.
            is_full = _is_disk_full(outage)
            event = "disk_full" if is_full else "attempt_interrupted"
            log.warning(event, work_dir=str(self._settings.work_dir), exc_info=True)
            self._release_after(type(outage).__name__, NO_ROOM if is_full else INTERNAL)

    def _run(self, lease: Lease) -> None:
        try:
            if (ending := self._run_child(lease)) is not None:
                self._settle_outage(ending)
        except LeaseLost:
            self._discard([self._log.key] if self._log else [])
            raise

    def _run_child(self, lease: Lease) -> Died | NotStarted | Dropped | None:
        """Do all that takes the attempt's files.

        Returns:
            An ending that is not settled, after which to look for what ails the worker: its disk only when
            the job's files are gone.
        """
        root = self._settings.attempt_dir(self._claim.job_id, self._claim.attempt)
        with borrowed(self._tools.users) as identity, Workspace(root, identity) as workspace:
            lease.carry(Growth(self._claim, workspace.log))
            kept = self._write(lambda session: claims.checkpoints_of(session, self._claim))
            ending = Work(self._tools, self._claim, workspace, lease).do(kept)
            self._log = store_log(self._tools.store, self._claim, workspace.log, lease, self._tools.shutdown)
            match ending:
                case Died() | NotStarted() | Dropped(cause=Cause.BROKEN):
                    return ending
                case Finished():
                    with tracing.span("publish"):
                        self._publish(workspace, lease)
                case _:
                    self._settle(ending)
        return None

    def release(self, reason: str) -> None:
        """Give the job back to its queue."""
        self._end(lambda session: self._release(session, reason=reason))

    def fail(self, error: JobError) -> None:
        """End the job with an error."""
        self._end(lambda session: claims.settle_failed(session, self._claim, error))

    def _release_after(self, outage: str, error: JobError = INTERNAL) -> None:
        self._give_back(
            lambda session: claims.release_after_outage(
                session,
                self._claim,
                reason=f"its worker met an outage: {outage}",
                max_outages=self._settings.max_outages,
                pause_seconds=self._settings.retry_seconds,
                error=error,
            )
        )

    def _give_back(self, counted: Callable[[Session], object]) -> None:
        """Give the job back; only where the worker itself is fit is what happened counted as the job's."""
        self.ailment = self._find_ailment()
        if self.ailment is None:
            self._end(counted)
        else:
            self.release(f"its worker met an outage: {self.ailment}")

    def _find_ailment(self) -> str | None:
        """What is wrong with this worker; not looked for while somebody waits for the attempt's end."""

        def check() -> None:
            if self._lease.answer is not Answer.GO_ON:
                raise Interrupted(Cause.LOST if self._lease.answer is Answer.LOST else Cause.CANCEL)
            if self._tools.shutdown.is_set():
                raise Interrupted(Cause.SHUTDOWN)

        try:
            return self._fitness.ailment(check)
        except Interrupted:
            return None

    def _settle_outage(self, ending: Died | NotStarted | Dropped) -> None:
        log.info("attempt_ended", ending=type(ending).__name__.lower(), detail=str(ending))
        match ending:
            case Died(error=error):
                self._give_back(lambda session: self._release(session, reason=error.message, error=error))
            case NotStarted(reason=reason):
                self._release_after(reason)
            case Dropped():
                self._release_after("it could not renew its lease any more")

    def _settle(self, ending: Refused | Dropped) -> None:
        log.info("attempt_ended", ending=type(ending).__name__.lower(), detail=str(ending))
        match ending:
            case Refused(error=error):
                self.fail(error)
            case Dropped(cause=Cause.CANCEL):
                self._end(lambda session: claims.settle_cancelled(session, self._claim))
            case Dropped(cause=Cause.SHUTDOWN):
                self.release("its worker was stopped")
            case Dropped(cause=Cause.LOST):
                raise LeaseLost(str(self._claim.job_id))

    def _publish(self, workspace: Workspace, lease: Lease) -> None:
        try:
            results = collect(workspace, self._claim, max_bytes=self._settings.max_result_bytes)
        except ProtocolViolation as violation:
            self.fail(violation.as_job_error())
            return
        try:
            self._store_and_settle(results, lease)
        finally:
            # After the settlement, which waits for no store.
            if self.outcome is not Outcome.SUCCEEDED:
                # All of them: a put that fails may have stored its object all the same.
                self._discard([self._key(result) for result in results])

    def _store_and_settle(self, results: Sequence[Result], lease: Lease) -> None:
        grace = Grace(self._settings.store_grace_seconds)

        def check() -> None:
            # A worker that is told to stop still publishes, if it can: to do the work again takes longer.
            lease.check()
            if grace.is_over(hurry=self._tools.shutdown.is_set()):
                raise Interrupted(Cause.SHUTDOWN)

        try:
            artifacts = [self._store(result, check) for result in results]
        except Interrupted as interruption:
            self._settle(Dropped(interruption.cause))
            return
        self._end(lambda session: claims.settle_succeeded(session, self._claim, artifacts))
        log.info("attempt_ended", ending="finished", outcome=str(self.outcome))

    def _release(self, session: Session, *, reason: str, error: JobError | None = None) -> JobStatus:
        return claims.release(
            session,
            self._claim,
            reason=reason,
            child_died=error is not None,
            max_child_deaths=self._settings.max_child_deaths,
            pause_seconds=0.0 if error is None else self._settings.death_pause_seconds,
            error=error,
        )

    def _end(self, settle: Callable[[Session], object]) -> None:
        """Settle the job; what became of the attempt is what its row says."""

        def settle_and_look(session: Session) -> Outcome | None:
            settle(session)
            return claims.outcome_of(session, self._claim)

        self.outcome = self._write(settle_and_look)

    def _write(self, write: Callable[[Session], _T]) -> _T:
        """Commit one fenced write; while Postgres is away, try again."""
        give_up_at = time.monotonic() + self._settings.settle_seconds
        while True:
            try:
                return self._commit(write)
            except DATABASE_OUTAGE:
                if self._tools.shutdown.is_set() or time.monotonic() > give_up_at:
                    raise
                log.warning("database_unavailable", exc_info=True)
                self._tools.shutdown.wait(self._settings.heartbeat_seconds)

    def _commit(self, write: Callable[[Session], _T]) -> _T:
        with self._tools.sessions.begin() as session:
            self._lease.write_pending(session)
            if self._log is not None:
                joblogs.record_log(session, self._claim, self._log)
            written = write(session)
            session.flush()
            # From here on all that can fail is the commit, which may reach Postgres all the same.
            self._is_unsure = True
        self._is_unsure = False
        return written

    def _key(self, result: Result) -> str:
        return attempt_key(self._claim.job_id, self._claim.attempt, result.path.name)

    def _store(self, result: Result, check: Check) -> StoredArtifact:
        key = self._key(result)
        transfer = partial(store_file, self._tools.store, key, result.path, result.media_type)
        stored = breakable(transfer, check)
        return StoredArtifact(
            name=result.name,
            key=key,
            bytes=stored.bytes,
            sha256=stored.sha256,
            media_type=result.media_type,
        )

    def _discard(self, keys: Sequence[str]) -> None:
        """Delete what was stored for nothing, unless it may have been published after all."""
        if not self._is_unsure:
            discard(self._tools.store, keys)


def _is_disk_full(outage: Exception) -> bool:
    return isinstance(outage, OSError) and outage.errno in {errno.ENOSPC, errno.EDQUOT}
