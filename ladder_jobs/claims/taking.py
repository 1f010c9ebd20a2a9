"""How a worker takes the best queued job: one statement, in which Postgres does all of it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import Row, TextualSelect, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from ladder_jobs.claims.choice import BEST_OF_ALL, BEST_OF_HEADS
from ladder_jobs.moves import move
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import Job
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
    """A job in a worker's hands.

    Attributes:
        job_id: Which job.
        attempt: Number of this attempt, from 1.
        token: Fencing token: every write carries it.
        config: What to do.
        model: The uploaded model.
        dataset: The uploaded dataset.
        used_seconds: How long earlier attempts ran, all together.
    """

    job_id: UUID
    attempt: int
    token: UUID
    config: JobConfig
    model: UploadRef
    dataset: UploadRef
    used_seconds: float


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
    while True:
        token = uuid4()
        lease = {"queue": queue, "worker": worker, "token": token, "lease_seconds": lease_seconds}
        # Where the second finds something, other transactions hold every head.
        row = session.execute(_TAKE_HEAD, lease).first() or session.execute(_TAKE_ANY, lease).first()
        if row is None:
            return None
        try:
            config = JOB_CONFIG.validate_python(row.config)
        except ValidationError:
            _give_up(session, row.id)
            continue
        return Claim(
            job_id=row.id,
            attempt=row.attempt,
            token=token,
            config=config,
            model=_reference(row, "model"),
            dataset=_reference(row, "dataset"),
            used_seconds=row.used_seconds,
        )


def _give_up(session: Session, job_id: UUID) -> None:
    job = session.get_one(Job, job_id, populate_existing=True)
    move(session, job, JobStatus.FAILED, outcome=Outcome.FAILED, error=_UNREADABLE)
    session.flush()


def _reference(row: Row[Any], kind: str) -> UploadRef:
    key, size, sha256, filename = (
        getattr(row, f"{kind}_{name}") for name in ("object_key", "bytes", "sha256", "filename")
    )
    return UploadRef(key=key, bytes=size, sha256=sha256, filename=filename)


def _take(best: str) -> TextualSelect:
    """The statement that leases the job ``best`` chooses, and writes its history."""
    statement = f"""
WITH RECURSIVE {best},
taken AS (
    UPDATE jobs SET
        status = '{JobStatus.RUNNING}',
        attempt = attempt + 1,
        token = :token,
        worker = :worker,
        started_at = coalesce(started_at, now()),
        lease_expires_at = now() + make_interval(secs => :lease_seconds)
    FROM best WHERE jobs.id = best.id
    RETURNING jobs.*
),
new_attempt AS (
    INSERT INTO attempts (job_id, number, token, worker) SELECT id, attempt, token, worker FROM taken
),
new_event AS (
    INSERT INTO events (job_id, attempt, kind, stage, data)
    SELECT id, attempt, '{EventKind.CLAIMED}', stage, '{{}}' FROM taken
)
SELECT
    taken.id, taken.attempt, taken.config,
    model.object_key AS model_object_key, model.bytes AS model_bytes,
    model.sha256 AS model_sha256, model.filename AS model_filename,
    dataset.object_key AS dataset_object_key, dataset.bytes AS dataset_bytes,
    dataset.sha256 AS dataset_sha256, dataset.filename AS dataset_filename,
    (
        SELECT coalesce(extract(epoch FROM sum(ended_at - started_at)), 0)::float
        FROM attempts WHERE job_id = taken.id
    ) AS used_seconds
FROM taken
JOIN uploads model ON model.id = taken.model_upload_id
JOIN uploads dataset ON dataset.id = taken.dataset_upload_id
"""  # noqa: S608 - of constants
    return text(statement).columns(id=Uuid(), config=JSONB())


_TAKE_HEAD = _take(BEST_OF_HEADS)
_TAKE_ANY = _take(BEST_OF_ALL)
