"""What housekeeping repairs: leases nobody renewed, and queues whose wake-up got lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from ladder_jobs.claimable import claimable
from ladder_jobs.moves import move
from ladder_jobs.states import LEASED_STATUSES, Outcome
from ladder_jobs.tables import Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus

MAX_EXPIRED = 200
"""How many leases one sweep ends; the next one, seconds later, takes the others."""

MAX_WAITING = 64
"""How far the jobs of a queue are counted: so many workers are woken at most by one sweep."""

# From one queue's name straight to the next, then only the front of each. Only jobs that a worker can claim
# now count: it would be woken for the others at every sweep.
_WAITING = text(
    f"""
WITH RECURSIVE queues (queue) AS (
    (SELECT queue FROM jobs WHERE status = 'queued' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (
        SELECT queue FROM jobs WHERE status = 'queued' AND queue > queues.queue ORDER BY queue LIMIT 1
    )
    FROM queues WHERE queue IS NOT NULL
)
SELECT queues.queue, front.jobs
FROM queues
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs
    FROM (SELECT FROM jobs WHERE {claimable("queues.queue")} LIMIT {MAX_WAITING}) counted
) front
WHERE queues.queue IS NOT NULL
"""  # noqa: S608 - of constants
)


@dataclass(frozen=True)
class LostAttempt:
    """An attempt that a sweep ended, and the state it gave the job."""

    job_id: UUID
    attempt: int
    worker: str | None
    request_id: str | None
    status: JobStatus


@dataclass(frozen=True)
class SweepResult:
    """Which jobs a sweep moved where, and how many of each queue can be claimed, as far as it counted."""

    lost: Sequence[LostAttempt]
    waiting: Mapping[str, int]

    @property
    def requeued(self) -> int:
        """How many went back to their queues."""
        return self._count(JobStatus.QUEUED)

    @property
    def failed(self) -> int:
        """How many failed."""
        return self._count(JobStatus.FAILED)

    @property
    def cancelled(self) -> int:
        """How many were cancelled."""
        return self._count(JobStatus.CANCELLED)

    def _count(self, status: JobStatus) -> int:
        return sum(attempt.status is status for attempt in self.lost)


def sweep(session: Session, *, max_worker_losses: int) -> SweepResult:
    """End the attempts whose lease has expired.

    A job being cancelled is cancelled; any other goes back to its queue, or fails when it has lost its worker
    ``max_worker_losses`` times. Two sweeps at once do no harm: each skips what the other holds.

    Args:
        session: The caller's transaction; wake the queues after its commit.
        max_worker_losses: How many lost workers a job survives, less one.
    """
    expired = session.scalars(
        select(Job)
        .where(Job.status.in_(LEASED_STATUSES), Job.lease_expires_at < func.now())
        .order_by(Job.lease_expires_at)
        .limit(MAX_EXPIRED)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    lost = [_end_lost_attempt(session, job, max_worker_losses) for job in expired]
    session.flush()
    return SweepResult(
        lost=lost,
        waiting={row.queue: row.jobs for row in session.execute(_WAITING) if row.jobs},
    )


def _end_lost_attempt(session: Session, job: Job, max_worker_losses: int) -> LostAttempt:
    reason = "the worker was lost"
    worker = job.worker
    job.worker_losses += 1
    error = None
    if job.status is JobStatus.CANCELLING:
        target = JobStatus.CANCELLED
    elif job.worker_losses < max_worker_losses:
        target = JobStatus.QUEUED
    else:
        target = JobStatus.FAILED
        error = JobError(
            code=ErrorCode.WORKER_LOST,
            message=f"The job lost its worker {job.worker_losses} times and is not tried again. "
            "Post it again; if it keeps failing, ask whoever runs the service to look at its workers.",
            stage=job.stage,
        )
    move(session, job, target, outcome=Outcome.WORKER_LOST, error=error, reason=reason)
    return LostAttempt(job.id, job.attempt, worker, job.request_id, target)
