"""What the API reads and writes: every question about jobs is asked within one owner's own."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, selectinload

from ladder_jobs.moves import move, record
from ladder_jobs.states import EventKind
from ladder_jobs.tables import Event, Job, Upload
from ladder_schema.config import JobConfig
from ladder_schema.jobs import JobStatus

_WITH_FILES = (selectinload(Job.artifacts), selectinload(Job.logs))


@dataclass(frozen=True)
class NewUpload:
    """A file that has arrived whole in the object store."""

    id: UUID
    kind: Literal["model", "dataset"]
    filename: str
    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Position:
    """Where a page of jobs ended."""

    created_at: datetime
    job_id: UUID


def create_job(
    session: Session,
    owner_id: UUID,
    *,
    config: JobConfig,
    model: NewUpload,
    dataset: NewUpload,
    queue: str,
    priority: int = 0,
    idempotency_key: str | None = None,
    request_id: str | None = None,
    traceparent: str | None = None,
) -> Job:
    """Queue a job on two new uploads.

    Args:
        session: The caller's transaction.
        owner_id: Whose job it is.
        config: What to do.
        model: The classifier.
        dataset: Its data.
        queue: Where the job waits.
        priority: Higher goes first.
        idempotency_key: The owner's own word for this request.
        request_id: Of the request, for the logs of whoever runs the job.
        traceparent: W3C trace context of the request, for their spans.

    Raises:
        sqlalchemy.exc.IntegrityError: The owner has used this idempotency key before.
    """
    job = Job(
        owner_id=owner_id,
        config=config.model_dump(mode="json"),
        config_version=config.schema_version,
        queue=queue,
        priority=priority,
        idempotency_key=idempotency_key,
        request_id=request_id,
        traceparent=traceparent,
        attempt=0,
        model_upload=_upload(owner_id, model),
        dataset_upload=_upload(owner_id, dataset),
        artifacts=[],
        logs=[],
    )
    session.add(job)
    session.flush()
    record(session, job, EventKind.CREATED)
    return job


def get_job(session: Session, owner_id: UUID, job_id: UUID) -> Job | None:
    """The owner's job with its files, or None: unknown and somebody else's are the same."""
    return session.scalar(select(Job).where(Job.id == job_id, Job.owner_id == owner_id).options(*_WITH_FILES))


def find_by_idempotency_key(session: Session, owner_id: UUID, key: str) -> Job | None:
    """The job an earlier request with this key made."""
    return session.scalar(
        select(Job).where(Job.owner_id == owner_id, Job.idempotency_key == key).options(*_WITH_FILES)
    )


def list_jobs(session: Session, owner_id: UUID, *, after: Position | None, limit: int) -> list[Job]:
    """The owner's jobs, newest first, starting after a position; new jobs never shift a later page."""
    query = (
        select(Job)
        .where(Job.owner_id == owner_id)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(limit)
        .options(*_WITH_FILES)
    )
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < (after.created_at, after.job_id))
    return list(session.scalars(query))


def request_cancel(session: Session, owner_id: UUID, job_id: UUID) -> Job | None:
    """Cancel the owner's job: a queued one at once, a running one through its worker.

    Returns:
        The job as it now is; unchanged where a cancel was accepted before. None if there is no such job.

    Raises:
        IllegalTransitionError: The job has ended otherwise.
    """
    job = session.scalar(
        select(Job).where(Job.id == job_id, Job.owner_id == owner_id).with_for_update().options(*_WITH_FILES)
    )
    if job is None or job.status in {JobStatus.CANCELLING, JobStatus.CANCELLED}:
        return job
    queued = job.status is JobStatus.QUEUED
    move(session, job, JobStatus.CANCELLED if queued else JobStatus.CANCELLING)
    session.flush()
    session.refresh(job)
    return job


def list_events(
    session: Session, owner_id: UUID, job_id: UUID, *, after: int = 0, limit: int | None = None
) -> list[Event]:
    """The history of the owner's job, oldest first.

    Args:
        session: Of the caller's transaction.
        owner_id: Whose job it is.
        job_id: Which job.
        after: Id of the event before the first; 0 starts at the beginning.
        limit: How many at most; None for all.
    """
    return list(
        session.scalars(
            select(Event)
            .join(Job, Job.id == Event.job_id)
            .where(Job.id == job_id, Job.owner_id == owner_id, Event.id > after)
            .order_by(Event.id)
            .limit(limit)
        )
    )


def _upload(owner_id: UUID, new: NewUpload) -> Upload:
    return Upload(
        id=new.id,
        owner_id=owner_id,
        kind=new.kind,
        filename=new.filename,
        object_key=new.key,
        bytes=new.bytes,
        sha256=new.sha256,
    )
