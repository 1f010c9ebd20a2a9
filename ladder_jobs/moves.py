"""The one place that changes a job's state after its creation, apart from the claim's single statement."""

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from ladder_jobs.deletions import write_down
from ladder_jobs.states import EVENT_OF, LEASED_STATUSES, EventKind, Outcome, check
from ladder_jobs.tables import Attempt, Checkpoint, Event, Job
from ladder_schema.jobs import JobError, JobStatus


def move(
    session: Session,
    job: Job,
    target: JobStatus,
    *,
    outcome: Outcome | None = None,
    error: JobError | None = None,
    reason: str | None = None,
) -> None:
    """Take a job, whose row the caller has locked, to another state, and write its history.

    Args:
        session: The caller's transaction.
        job: The locked job.
        target: Where to take it; the table in :mod:`ladder_jobs.states` must permit it.
        outcome: How the attempt ended, where this ends one.
        error: Why the job failed, where ``target`` is ``failed``.
        reason: Said in the event, and kept with the attempt.

    Raises:
        IllegalTransitionError: The table does not permit it.
    """
    check(job.status, target)
    if outcome is not None:
        attempt = session.get_one(Attempt, (job.id, job.attempt))
        attempt.ended_at = func.now()
        attempt.outcome = outcome
        attempt.error = error.message if error else reason
    if target not in LEASED_STATUSES:
        job.token = job.worker = job.lease_expires_at = None
    if target is JobStatus.QUEUED:
        job.stage, job.progress = None, 0.0
    if error is not None:
        job.error_code, job.error_message, job.error_stage = error.code, error.message, error.stage
    if target in {JobStatus.CANCELLING, JobStatus.CANCELLED} and job.cancel_requested_at is None:
        job.cancel_requested_at = func.now()
    job.status = target
    if target.is_final:
        job.finished_at = func.now()
        _forget_checkpoints(session, job)
    record(session, job, EVENT_OF[target], **_details(error, reason))


def record(session: Session, job: Job, kind: EventKind, **data: str) -> None:
    """Add an entry to a job's history, with the stage it is in."""
    session.add(Event(job_id=job.id, attempt=job.attempt, kind=kind, stage=job.stage, data=data))


def _forget_checkpoints(session: Session, job: Job) -> None:
    """A job that has ended is never gone on with."""
    forgotten = delete(Checkpoint).where(Checkpoint.job_id == job.id).returning(Checkpoint.object_key)
    write_down(session, session.scalars(forgotten).all())


def _details(error: JobError | None, reason: str | None) -> dict[str, str]:
    details: dict[str, str] = {"code": error.code, "message": error.message} if error else {}
    return details | ({"reason": reason} if reason else {})
