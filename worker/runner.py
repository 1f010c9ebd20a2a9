"""Takes jobs from a queue until none is left."""

import errno
import time

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ladder_jobs import claims, tracing
from ladder_jobs.claims import Claim, LeaseLost
from ladder_jobs.objects import StoreError
from ladder_jobs.states import Outcome
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError
from worker import metrics
from worker.attempt import DATABASE_OUTAGE, Attempt
from worker.endings import OtherVersion
from worker.tools import Tools
from worker.traces import attempt_span

log = structlog.get_logger(__name__)

_INTERNAL = JobError(
    code=ErrorCode.INTERNAL,
    message="The service failed while running the job; this is not the upload's fault.",
    stage=None,
)

_MAX_PAUSE_SECONDS = 300.0
_GOOD_OUTCOMES = frozenset({Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.RELEASED})


class Runner:
    """Runs queued jobs, one at a time."""

    def __init__(self, tools: Tools, *, name: str) -> None:
        self._tools = tools
        self._name = name

    def run_queued_jobs(self, queue: str) -> int:
        """Claim and run jobs until none is queued or the worker is to stop.

        Returns:
            How many attempts were made.
        """
        attempts = 0
        while not self._tools.shutdown.is_set() and (claim := self._claim(queue)):
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

    def _run(self, claim: Claim) -> None:
        log.info("attempt_started")
        if claim.attempt > 1:
            metrics.RETRIES.inc()
        began = time.monotonic()
        attempt = Attempt(self._tools, claim)
        outcome = "unsettled"
        try:
            self._run_and_settle(attempt, claim)
            outcome = str(attempt.outcome)
        except LeaseLost:
            outcome = "lost"
            metrics.LEASE_LOSSES.inc()
            log.warning("lease_lost")
        except SQLAlchemyError:
            # The lease runs out and housekeeping returns the job to its queue.
            log.warning("attempt_left_unsettled", exc_info=True)
        finally:
            metrics.count_attempt(outcome, time.monotonic() - began)
            tracing.describe({"outcome": outcome}, failed=outcome not in _GOOD_OUTCOMES)

    def _run_and_settle(self, attempt: Attempt, claim: Claim) -> None:
        settings = self._tools.settings
        try:
            attempt.run()
        except (LeaseLost, *DATABASE_OUTAGE):
            raise
        except (OSError, StoreError, OtherVersion) as outage:
            event = "disk_full" if _is_disk_full(outage) else "attempt_interrupted"
            log.warning(event, work_dir=str(settings.work_dir), exc_info=True)
            if claim.attempt >= settings.max_attempts:
                attempt.fail(_INTERNAL)
                return
            # Each time longer: what only this job meets must not keep the others waiting.
            pause = min(_MAX_PAUSE_SECONDS, settings.retry_seconds * 2 ** (claim.attempt - 1))
            attempt.release(f"its worker met an outage: {type(outage).__name__}", pause_seconds=pause)
            self._tools.shutdown.wait(settings.retry_seconds)
        except Exception:
            # What Postgres refuses to store is among these: it would refuse it at the next attempt, too.
            log.exception("attempt_broken")
            attempt.fail(_INTERNAL)


def _named(claim: Claim) -> dict[str, object]:
    """What every line about an attempt carries."""
    by_request = {} if claim.request_id is None else {"request_id": claim.request_id}
    return {"job": str(claim.job_id), "attempt": claim.attempt, **by_request}


def _is_disk_full(outage: Exception) -> bool:
    return isinstance(outage, OSError) and outage.errno in {errno.ENOSPC, errno.EDQUOT}
