"""Takes jobs from a queue until none is left."""

import time

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ladder_jobs import claims, tracing
from ladder_jobs.claims import Claim, LeaseLost
from ladder_jobs.database import is_behind
from ladder_jobs.states import Outcome
from worker import metrics
from worker.attempt import DATABASE_OUTAGE, INTERNAL, Attempt
from worker.endings import OtherVersion
from worker.fitness import Fitness
from worker.tools import Tools
from worker.traces import attempt_span

log = structlog.get_logger(__name__)

_TABLES_SECONDS = 60.0
_GOOD_OUTCOMES = frozenset({Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.RELEASED})


class Runner:
    """Runs queued jobs, one at a time."""

    def __init__(self, tools: Tools, *, name: str) -> None:
        self._tools = tools
        self._name = name
        self._fitness = Fitness(tools)
        self._look_at_tables_at = 0.0

    def run_queued_jobs(self, queue: str) -> int:
        """Claim and run jobs until none is queued or the worker is to stop.

        Returns:
            How many attempts were made.

        Raises:
            OtherVersion: The database or the children are of another version: this worker can run no job.
        """
        attempts = 0
        while self._fitness.wait() and (claim := self._claim(queue)):
            with (
                structlog.contextvars.bound_contextvars(**_named(claim)),
                metrics.BUSY.track_inprogress(),
                attempt_span(self._tools.sessions, claim),
            ):
                self._run(claim)
            attempts += 1
        return attempts

    def _claim(self, queue: str) -> Claim | None:
        try:
            with self._tools.sessions.begin() as session:
                self._look_at_tables(session)
                return claims.claim_job(
                    session,
                    queue=queue,
                    worker=self._name,
                    lease_seconds=self._tools.settings.lease_seconds,
                )
        except DATABASE_OUTAGE:
            # Housekeeping wakes this worker again for as long as jobs are queued.
            log.warning("claim_failed", exc_info=True)
            return None

    def _look_at_tables(self, session: Session) -> None:
        """Make sure, once a minute, that the tables are not of an earlier version.

        Raises:
            OtherVersion: They are.
        """
        now = time.monotonic()
        if now < self._look_at_tables_at:
            return
        if is_behind(session):
            raise OtherVersion(
                "the database's tables are of an earlier version than this worker: run "
                "python -m ladder_jobs migrate, then start the worker again"
            )
        self._look_at_tables_at = now + _TABLES_SECONDS

    def _run(self, claim: Claim) -> None:
        log.info("attempt_started")
        if claim.attempt > 1:
            metrics.RETRIES.inc()
        began = time.monotonic()
        attempt = Attempt(self._tools, claim, self._fitness)
        outcome = "unsettled"
        try:
            self._run_and_settle(attempt)
            outcome = str(attempt.outcome)
        except LeaseLost:
            outcome = "lost"
            metrics.LEASE_LOSSES.inc()
            log.warning("lease_lost")
        except OtherVersion:
            outcome = str(attempt.outcome or outcome)
            raise
        except Exception:
            # The lease runs out and housekeeping returns the job to its queue.
            log.warning("attempt_left_unsettled", exc_info=True)
        finally:
            metrics.count_attempt(outcome, time.monotonic() - began)
            tracing.describe({"outcome": outcome}, failed=outcome not in _GOOD_OUTCOMES)
            self._take_note(attempt)

    def _run_and_settle(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        except DATABASE_OUTAGE:
            raise
        except SQLAlchemyError:
            # What Postgres refuses to store it would refuse at the next attempt, too.
            log.exception("attempt_broken")
            attempt.fail(INTERNAL)

    def _take_note(self, attempt: Attempt) -> None:
        if attempt.ailment is not None:
            self._fitness.note_outage(attempt.ailment)
        else:
            self._fitness.note_success()


def _named(claim: Claim) -> dict[str, object]:
    """What every line about an attempt carries."""
    by_request = {} if claim.request_id is None else {"request_id": claim.request_id}
    return {"job": str(claim.job_id), "attempt": claim.attempt, **by_request}
