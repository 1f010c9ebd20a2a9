"""What housekeeping repairs: leases nobody renewed, and queues whose wake-up got lost."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ladder_jobs.moves import move
from ladder_jobs.states import LEASED_STATUSES, Outcome
from ladder_jobs.tables import Job
from ladder_schema.config import SCHEMA_VERSION
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus


@dataclass(frozen=True)
class SweepResult:
    """How many jobs a sweep moved where, and the queues in which jobs wait that can be claimed."""

    requeued: int
    failed: int
    cancelled: int
    queues_to_wake: frozenset[str]


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
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    ended = [_end_lost_attempt(session, job, max_worker_losses) for job in expired]
    session.flush()
    # Only jobs that a worker can claim now: it would be woken for the others at every sweep.
    waiting = session.scalars(
        select(Job.queue)
        .where(
            Job.status == JobStatus.QUEUED,
            Job.config_version == SCHEMA_VERSION,
            Job.not_before <= func.now(),
        )
        .distinct()
    )
    return SweepResult(
        requeued=ended.count(JobStatus.QUEUED),
        failed=ended.count(JobStatus.FAILED),
        cancelled=ended.count(JobStatus.CANCELLED),
        queues_to_wake=frozenset(waiting),
    )


def _end_lost_attempt(session: Session, job: Job, max_worker_losses: int) -> JobStatus:
    reason = "the worker was lost"
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
    return target
