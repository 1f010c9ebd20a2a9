"""Takes jobs from a queue until none is left."""

import errno

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ladder_jobs import claims
from ladder_jobs.claims import Claim, LeaseLost
from ladder_jobs.objects import StoreError
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError
from worker.attempt import DATABASE_OUTAGE, Attempt, Tools
from worker.endings import OtherVersion

log = structlog.get_logger(__name__)

_INTERNAL = JobError(
    code=ErrorCode.INTERNAL,
    message="The service failed while running the job; this is not the upload's fault.",
    stage=None,
)


_MAX_PAUSE_SECONDS = 300.0


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
            with structlog.contextvars.bound_contextvars(job=str(claim.job_id), attempt=claim.attempt):
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
        try:
            self._run_and_settle(claim)
        except LeaseLost:
            log.warning("lease_lost")
        except SQLAlchemyError:
            # The lease runs out and housekeeping returns the job to its queue.
            log.warning("attempt_left_unsettled", exc_info=True)

    def _run_and_settle(self, claim: Claim) -> None:
        attempt, settings = Attempt(self._tools, claim), self._tools.settings
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


def _is_disk_full(outage: Exception) -> bool:
    return isinstance(outage, OSError) and outage.errno in {errno.ENOSPC, errno.EDQUOT}
