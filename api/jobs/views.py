"""A job's rows as its owner sees them, and the cursor between two pages."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from api.errors import BadRequest
from ladder_jobs.repository import Position
from ladder_jobs.retention import Retention
from ladder_jobs.states import EventKind
from ladder_jobs.tables import Event, Job
from ladder_schema.config import JOB_CONFIG, JobConfig
from ladder_schema.jobs import ArtifactView, JobError, JobView, Stage


class EventView(BaseModel):
    """An entry of a job's history."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    kind: EventKind
    attempt: int = Field(description="Which attempt; 0 before the first.")
    stage: Stage | None
    data: dict[str, str] = Field(description="Whatever more there is to say.")


class EventPage(BaseModel):
    """One page of a job's history, oldest first."""

    model_config = ConfigDict(frozen=True)

    items: tuple[EventView, ...]
    next: str | None = Field(None, description="Path of the next page; null on the last.")


def job_view(job: Job, retention: Retention) -> JobView:
    """What the API says about a job, and how long it keeps what the job made."""
    return JobView(
        id=job.id,
        status=job.status,
        stage=job.stage,
        progress=job.progress,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=retention.results_expire_at(job),
        expired_at=job.artifacts_expired_at,
        config=_config(job),
        error=_error(job),
        artifacts=tuple(
            ArtifactView(
                name=artifact.name,
                bytes=artifact.bytes,
                sha256=artifact.sha256,
                media_type=artifact.media_type,
                href=f"/jobs/{job.id}/{artifact.name}",
            )
            for artifact in job.artifacts
        ),
    )


def event_view(event: Event) -> EventView:
    """What the API says about an event."""
    return EventView(at=event.at, kind=event.kind, attempt=event.attempt, stage=event.stage, data=event.data)


def cursor_after(job: Job) -> str:
    """The place just after a job, as a word to put into a URL."""
    plain = f"{job.created_at.isoformat()}|{job.id}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """The place a cursor means.

    Raises:
        BadRequest: It is none of ours.
    """
    try:
        plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, _, job_id = plain.partition("|")
        position = Position(datetime.fromisoformat(created_at), UUID(job_id))
    except (ValueError, binascii.Error):
        raise BadRequest("The cursor is none of ours: follow `next` of the page before.") from None
    if position.created_at.tzinfo is None:
        raise BadRequest("The cursor is none of ours: follow `next` of the page before.")
    return position


def _config(job: Job) -> JobConfig | dict[str, JsonValue]:
    """The configuration; what another version of the service stored is shown as it is, not refused."""
    try:
        return JOB_CONFIG.validate_python(job.config)
    except ValidationError:
        return job.config


def _error(job: Job) -> JobError | None:
    if job.error_code is None or job.error_message is None:
        return None
    return JobError(code=job.error_code, message=job.error_message, stage=job.error_stage)
