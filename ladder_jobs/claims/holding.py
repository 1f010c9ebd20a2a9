"""How a worker keeps the job it has claimed, and how it ends its attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from ladder_jobs.claims.fence import hold
from ladder_jobs.claims.taking import Claim
from ladder_jobs.moves import move, record
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import Artifact, Attempt, Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import ArtifactName, JobError, JobStatus, Stage

MAX_PAUSE_SECONDS = 300.0
"""Longest that a job is withheld after an outage."""

_MAX_DOUBLINGS = 30


class Answer(StrEnum):
    """What a heartbeat hears."""

    GO_ON = "go_on"
    CANCEL = "cancel"
    LOST = "lost"


@dataclass(frozen=True)
class StoredArtifact:
    """A result already in the object store, to be published."""

    name: ArtifactName
    key: str
    bytes: int
    sha256: str
    media_type: str


def heartbeat(session: Session, claim: Claim, *, lease_seconds: float) -> Answer:
    """Renew the lease, and hear whether to go on."""
    status = session.scalar(
        update(Job)
        .where(Job.id == claim.job_id, Job.token == claim.token)
        .values(lease_expires_at=func.now() + timedelta(seconds=lease_seconds))
        .returning(Job.status)
        .execution_options(synchronize_session=False)
    )
    if status is None:
        return Answer.LOST
    return Answer.CANCEL if status is JobStatus.CANCELLING else Answer.GO_ON


def record_progress(session: Session, claim: Claim, stage: Stage, progress: float) -> None:
    """Say where the job stands; a stage's beginning is also an event, and one that is over changes nothing.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    job = hold(session, claim)
    if job.stage is not None and stage.precedes(job.stage):
        return
    begins = job.stage is not stage
    job.stage, job.progress = stage, progress
    if begins:
        record(session, job, EventKind.STAGE)


def settle_succeeded(session: Session, claim: Claim, artifacts: Sequence[StoredArtifact]) -> JobStatus:
    """Publish the results: the only way to ``succeeded``.

    Returns:
        ``succeeded``, or ``cancelled`` where a cancel was accepted first; then nothing is published.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    job = hold(session, claim)
    if job.status is not JobStatus.CANCELLING:
        session.add_all(
            Artifact(
                job_id=job.id,
                name=artifact.name,
                object_key=artifact.key,
                bytes=artifact.bytes,
                sha256=artifact.sha256,
                media_type=artifact.media_type,
            )
            for artifact in artifacts
        )
        job.progress = 1.0
    return _settle(session, job, JobStatus.SUCCEEDED, Outcome.SUCCEEDED)


def settle_failed(session: Session, claim: Claim, error: JobError) -> JobStatus:
    """End the job with an error.

    Returns:
        ``failed``, or ``cancelled`` where a cancel was accepted first.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    return _settle(session, hold(session, claim), JobStatus.FAILED, Outcome.FAILED, error=error)


def settle_cancelled(session: Session, claim: Claim) -> None:
    """End a job whose owner asked for it.

    Raises:
        LeaseLost: The job is no longer this worker's.
        IllegalTransitionError: Nobody asked to cancel it.
    """
    move(session, hold(session, claim), JobStatus.CANCELLED, outcome=Outcome.CANCELLED)


def release(
    session: Session,
    claim: Claim,
    *,
    reason: str,
    child_died: bool,
    max_child_deaths: int,
    pause_seconds: float = 0.0,
    error: JobError | None = None,
) -> JobStatus:
    """Give a job back to its queue, or fail it when its child has died too often.

    Args:
        session: The caller's transaction.
        claim: The job.
        reason: Why, for its history.
        child_died: Whether the attempt's child died of the job itself, which counts towards the cap.
        max_child_deaths: The cap.
        pause_seconds: How long nobody is to claim it, so that it need not be the same worker that does.
        error: The child's last words, should this be the last attempt.

    Returns:
        ``queued``, ``failed``, or ``cancelled`` where a cancel was accepted first.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    job = hold(session, claim)
    job.not_before = func.now() + timedelta(seconds=pause_seconds)
    if not child_died:
        return _settle(session, job, JobStatus.QUEUED, Outcome.RELEASED, reason=reason)
    job.child_deaths += 1
    if job.child_deaths < max_child_deaths:
        return _settle(session, job, JobStatus.QUEUED, Outcome.CHILD_DIED, reason=reason)
    last_words = error or JobError(code=ErrorCode.CHILD_CRASHED, message=reason, stage=job.stage)
    return _settle(session, job, JobStatus.FAILED, Outcome.CHILD_DIED, error=last_words)


def release_after_outage(
    session: Session, claim: Claim, *, reason: str, max_outages: int, pause_seconds: float, error: JobError
) -> JobStatus:
    """Give a job back that met an outage which its worker does not meet without it, or fail it at last.

    Args:
        session: The caller's transaction.
        claim: The job.
        reason: Why, for its history.
        max_outages: How many such outages fail the job.
        pause_seconds: How long nobody is to claim it after the first, so that it does not stand in others'
            way; twice as long after each, up to :data:`MAX_PAUSE_SECONDS`.
        error: The job's, should this be the last attempt.

    Returns:
        ``queued``, ``failed``, or ``cancelled`` where a cancel was accepted first.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    job = hold(session, claim)
    job.outages += 1
    pause = min(MAX_PAUSE_SECONDS, pause_seconds * 2.0 ** min(job.outages - 1, _MAX_DOUBLINGS))
    job.not_before = func.now() + timedelta(seconds=pause)
    if job.outages < max_outages:
        return _settle(session, job, JobStatus.QUEUED, Outcome.RELEASED, reason=reason)
    return _settle(session, job, JobStatus.FAILED, Outcome.FAILED, error=error)


def outcome_of(session: Session, claim: Claim) -> Outcome | None:
    """How the attempt ended, as its row says; None while it has not."""
    return session.get_one(Attempt, (claim.job_id, claim.attempt)).outcome


def _settle(
    session: Session,
    job: Job,
    target: JobStatus,
    outcome: Outcome,
    *,
    error: JobError | None = None,
    reason: str | None = None,
) -> JobStatus:
    """End the attempt; where the job is being cancelled, both are cancelled, however the attempt ended."""
    if job.status is JobStatus.CANCELLING:
        target, outcome, error = JobStatus.CANCELLED, Outcome.CANCELLED, None
    move(session, job, target, outcome=outcome, error=error, reason=reason)
    return target
