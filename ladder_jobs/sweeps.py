"""What housekeeping repairs: leases nobody renewed, states that last too long, and wake-ups that got lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, exists, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from ladder_jobs.claimable import claimable
from ladder_jobs.moves import move
from ladder_jobs.settings import Settings
from ladder_jobs.states import LEASED_STATUSES, Outcome
from ladder_jobs.tables import Attempt, Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus

MAX_EXPIRED = 200
"""How many jobs of a kind one sweep ends; the next one, seconds later, takes the others."""

OVERTIME = timedelta(hours=1)
"""How much longer than a job may run its worker may take to end it, with all results to be stored."""

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
class SweepResult:
    """How many jobs a sweep moved where, and how many of each queue can be claimed, as far as it counted."""

    requeued: int
    failed: int
    cancelled: int
    waiting: Mapping[str, int]


@dataclass(frozen=True)
class Patience:
    """How long a state may last when nobody ends it; a lease says so itself.

    Attributes:
        queued: Of a job that can be claimed, until it is.
        running: Of an attempt.
        cancelling: From the request on.
    """

    queued: timedelta = timedelta(days=7)
    running: timedelta = timedelta(days=1)
    cancelling: timedelta = timedelta(minutes=1)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            queued=timedelta(seconds=settings.queued_max_seconds),
            running=timedelta(seconds=settings.job_max_seconds),
            cancelling=timedelta(seconds=settings.cancel_max_seconds),
        )


def sweep(session: Session, *, max_worker_losses: int, patience: Patience = Patience()) -> SweepResult:
    """End the attempts whose lease has expired, and every state that lasts longer than it may.

    A job being cancelled is cancelled; any other goes back to its queue, or fails when it has lost its worker
    ``max_worker_losses`` times. A worker that renews its lease and does nothing else does not keep its job:
    the time limits hold whatever it says, and then its writes are refused. Two sweeps at once do no harm:
    each skips what the other holds.

    Args:
        session: The caller's transaction; wake the queues after its commit.
        max_worker_losses: How many lost workers a job survives, less one.
        patience: How long states may last.
    """
    expired = _lock(
        session, Job.lease_expires_at, Job.status.in_(LEASED_STATUSES), Job.lease_expires_at < func.now()
    )
    ended = [_end_lost_attempt(session, job, max_worker_losses) for job in expired]
    session.flush()
    ended += _end_what_lasts_too_long(session, patience)
    session.flush()
    return SweepResult(
        requeued=ended.count(JobStatus.QUEUED),
        failed=ended.count(JobStatus.FAILED),
        cancelled=ended.count(JobStatus.CANCELLED),
        waiting={row.queue: row.jobs for row in session.execute(_WAITING) if row.jobs},
    )


def _end_lost_attempt(session: Session, job: Job, max_worker_losses: int) -> JobStatus:
    reason = "the worker was lost"
    job.worker_losses += 1
    job.not_before = func.now()
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
    return target


def _end_what_lasts_too_long(session: Session, patience: Patience) -> list[JobStatus]:
    cancelling = _lock(
        session,
        Job.cancel_requested_at,
        Job.status == JobStatus.CANCELLING,
        Job.cancel_requested_at < func.now() - patience.cancelling,
    )
    for job in cancelling:
        reason = "its worker did not stop in time"
        move(session, job, JobStatus.CANCELLED, outcome=Outcome.CANCELLED, reason=reason)
    open_too_long = exists().where(
        Attempt.job_id == Job.id,
        Attempt.ended_at.is_(None),
        Attempt.started_at < func.now() - (patience.running + OVERTIME),
    )
    running = _lock(session, Job.lease_expires_at, Job.status == JobStatus.RUNNING, open_too_long)
    for job in running:
        error = _too_long(job, patience.running)
        move(session, job, JobStatus.FAILED, outcome=Outcome.FAILED, error=error)
    queued = _lock(
        session,
        Job.not_before,
        Job.status == JobStatus.QUEUED,
        Job.not_before < func.now() - patience.queued,
    )
    for job in queued:
        move(session, job, JobStatus.FAILED, error=_never_taken(job, patience.queued))
    return [job.status for job in (*cancelling, *running, *queued)]


def _lock(session: Session, age: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> list[Job]:
    """Lock some jobs, the oldest first; those that others hold are left to them."""
    query = (
        select(Job)
        .where(*conditions)
        .order_by(age)
        .limit(MAX_EXPIRED)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(query))


def _too_long(job: Job, allowed: timedelta) -> JobError:
    return JobError(
        code=ErrorCode.TIME_LIMIT,
        message=f"The job ran longer than the {allowed.total_seconds():.0f} s a job may run here, and its "
        "worker did not end it. Post it again with less to do, e.g. preset quick; if it keeps failing, ask "
        "whoever runs the service to look at its workers.",
        stage=job.stage,
    )


def _never_taken(job: Job, allowed: timedelta) -> JobError:
    return JobError(
        code=ErrorCode.QUEUE_TIMEOUT,
        message=f"No worker of the queue {job.queue!r} took the job for {allowed.total_seconds():.0f} s. "
        "Ask whoever runs the service whether workers serve this queue, then post it again.",
        stage=None,
    )
