"""How a worker takes the best queued job."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from ladder_jobs.claims.choice import best_of_all, best_of_heads
from ladder_jobs.moves import move, record
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import Attempt, Job, Upload
from ladder_schema.config import JOB_CONFIG, JobConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus

_UNREADABLE = JobError(
    code=ErrorCode.INTERNAL,
    message="The job's stored configuration can no longer be read. "
    "This is a fault of the service, not of the upload; post the job again.",
    stage=None,
)


@dataclass(frozen=True)
class UploadRef:
    """Where an upload lies in the object store, and what it must be."""

    key: str
    bytes: int
    sha256: str
    filename: str


@dataclass(frozen=True)
class Claim:
    """A job in a worker's hands."""

    job_id: UUID
    attempt: int
    token: UUID
    config: JobConfig
    model: UploadRef
    dataset: UploadRef


def claim_job(session: Session, *, queue: str, worker: str, lease_seconds: float) -> Claim | None:
    """Take the best queued job: highest priority, then the owner with fewest jobs running, then the oldest.

    Jobs whose configuration another version of the schema wrote are left to workers that can read it. A job
    whose configuration says it is of this version and still cannot be read fails here: left in its queue, it
    would be the best one for ever.

    Args:
        session: The caller's transaction.
        queue: Which queue to take from.
        worker: The worker's name, for whoever looks.
        lease_seconds: How long the job stays this worker's without a heartbeat.

    Returns:
        The claim, or None when nothing is queued.
    """
    while (
        job := _take_best(
            session, queue=queue, worker=worker, token=(token := uuid4()), lease_seconds=lease_seconds
        )
    ) is not None:
        try:
            config = JOB_CONFIG.validate_python(job.config)
        except ValidationError:
            move(session, job, JobStatus.FAILED, outcome=Outcome.FAILED, error=_UNREADABLE)
            session.flush()
            continue
        return Claim(
            job_id=job.id,
            attempt=job.attempt,
            token=token,
            config=config,
            model=_reference(job.model_upload),
            dataset=_reference(job.dataset_upload),
        )
    return None


def _take_best(session: Session, *, queue: str, worker: str, token: UUID, lease_seconds: float) -> Job | None:
    best = session.scalar(best_of_heads(queue))
    if best is None:
        # Nothing is there, or other transactions hold every head.
        best = session.scalar(best_of_all(queue))
    if best is None:
        return None
    # The row is locked, so nobody comes between.
    job = session.scalars(
        update(Job)
        .where(Job.id == best)
        .values(
            status=JobStatus.RUNNING,
            attempt=Job.attempt + 1,
            token=token,
            worker=worker,
            started_at=func.coalesce(Job.started_at, func.now()),
            lease_expires_at=func.now() + timedelta(seconds=lease_seconds),
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one()
    session.add(Attempt(job_id=job.id, number=job.attempt, token=token, worker=worker))
    record(session, job, EventKind.CLAIMED)
    return job


def _reference(upload: Upload) -> UploadRef:
    return UploadRef(
        key=upload.object_key, bytes=upload.bytes, sha256=upload.sha256, filename=upload.filename
    )
