"""The tables. Every time in them is Postgres' own ``now()``, so the clocks of other machines do not matter.

The check constraints say what is true of each state, whichever program wrote the row: a leased job has a
token, a final job has an end, a failed job has an error.
"""

import enum
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from ladder_jobs.states import LEASED_STATUSES, EventKind, Outcome
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import FINAL_STATUSES, ArtifactName, JobStatus, Stage
from ladder_schema.protocol import CheckpointName


def _words(words: type[enum.Enum], *, closed: bool = False) -> Enum:
    """Text column of an enum's values; only a closed set is checked by the database, the others may grow."""
    return Enum(
        words,
        name=words.__name__.lower(),
        native_enum=False,
        length=64,
        create_constraint=closed,
        values_callable=lambda kind: [word.value for word in kind],
    )


def _is_one_of(statuses: frozenset[JobStatus]) -> str:
    """SQL condition on ``status``, in a stable order so that constraints and indices never seem to change."""
    return f"status IN ({', '.join(repr(status.value) for status in JobStatus if status in statuses)})"


class Base(DeclarativeBase):
    """Names of constraints and types of columns, decided once."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        JobStatus: _words(JobStatus, closed=True),
        Stage: _words(Stage),
        ErrorCode: _words(ErrorCode),
        ArtifactName: _words(ArtifactName),
        CheckpointName: _words(CheckpointName),
        EventKind: _words(EventKind),
        Outcome: _words(Outcome),
    }


class Owner(Base):
    """Whoever jobs belong to."""

    __tablename__ = "owners"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKey(Base):
    """A bearer token, stored as its SHA-256: enough for a 256-bit random token, which nobody can guess."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"), index=True)
    prefix: Mapped[str] = mapped_column(unique=True, doc="The token's beginning, to recognise it by.")
    sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class Upload(Base):
    """A file an owner sent, in the object store under ``object_key``."""

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint("kind IN ('model', 'dataset')", name="kind"),
        CheckConstraint("bytes > 0", name="not_empty"),
        Index(None, "owner_id", "sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"))
    kind: Mapped[str]
    filename: Mapped[str]
    object_key: Mapped[str] = mapped_column(unique=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Job(Base):
    """A job, and while a worker holds it, the lease."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner_id", "idempotency_key"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        CheckConstraint(f"({_is_one_of(LEASED_STATUSES)}) = (token IS NOT NULL)", name="leased_has_token"),
        CheckConstraint("(token IS NULL) = (worker IS NULL)", name="token_with_worker"),
        CheckConstraint("(token IS NULL) = (lease_expires_at IS NULL)", name="token_with_lease"),
        CheckConstraint("(attempt = 0) = (started_at IS NULL)", name="attempted_has_start"),
        CheckConstraint(
            f"({_is_one_of(FINAL_STATUSES)}) = (finished_at IS NOT NULL)", name="final_has_finish"
        ),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failed_has_error"),
        CheckConstraint("(error_code IS NULL) = (error_message IS NULL)", name="error_has_message"),
        CheckConstraint(
            "(status IN ('cancelling', 'cancelled')) = (cancel_requested_at IS NOT NULL)",
            name="cancelled_has_request",
        ),
        CheckConstraint(
            "finished_at IS NOT NULL OR (artifacts_expired_at IS NULL AND uploads_expired_at IS NULL)",
            name="expired_has_ended",
        ),
        Index(
            "ix_jobs_claim",
            "queue",
            text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_jobs_claim_of_owner",
            "queue",
            "owner_id",
            text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        # Not by lease_expires_at: every heartbeat changes that, and so has no index at all to write.
        Index("ix_jobs_leased", "owner_id", postgresql_where=text(_is_one_of(LEASED_STATUSES))),
        Index(
            "ix_jobs_unclaimed",
            "not_before",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "ix_jobs_artifacts_kept",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND artifacts_expired_at IS NULL"),
        ),
        Index(
            "ix_jobs_uploads_kept",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND uploads_expired_at IS NULL"),
        ),
        Index("ix_jobs_ended", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("ix_jobs_newest", "owner_id", text("created_at DESC"), text("id DESC")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey("owners.id"))
    idempotency_key: Mapped[str | None]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0, doc="Higher goes first.")
    status: Mapped[JobStatus] = mapped_column(default=JobStatus.QUEUED)
    stage: Mapped[Stage | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    config: Mapped[dict[str, Any]]
    config_version: Mapped[int]
    model_upload_id: Mapped[UUID] = mapped_column(ForeignKey("uploads.id"), index=True)
    dataset_upload_id: Mapped[UUID] = mapped_column(ForeignKey("uploads.id"), index=True)

    error_code: Mapped[ErrorCode | None]
    error_message: Mapped[str | None]
    error_stage: Mapped[Stage | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(doc="When the first attempt began.")
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    artifacts_expired_at: Mapped[datetime | None] = mapped_column(doc="When what it produced was given up.")
    uploads_expired_at: Mapped[datetime | None] = mapped_column(
        doc="When its uploads were, as far as its own."
    )

    not_before: Mapped[datetime] = mapped_column(
        server_default=func.now(), doc="When a queued job may be claimed: later, after an outage."
    )
    attempt: Mapped[int] = mapped_column(default=0, doc="Number of the latest attempt; 0 before the first.")
    token: Mapped[UUID | None] = mapped_column(doc="Fencing token: random, new with every attempt.")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    child_deaths: Mapped[int] = mapped_column(default=0)
    worker_losses: Mapped[int] = mapped_column(default=0)
    outages: Mapped[int] = mapped_column(
        server_default=text("0"), doc="Attempts that an outage ended which only this job met."
    )

    request_id: Mapped[str | None] = mapped_column(doc="Of the request that made the job, for the logs.")
    traceparent: Mapped[str | None] = mapped_column(
        doc="W3C trace context of that request, if it was traced."
    )

    model_upload: Mapped[Upload] = relationship(foreign_keys=[model_upload_id])
    dataset_upload: Mapped[Upload] = relationship(foreign_keys=[dataset_upload_id])
    artifacts: Mapped[list["Artifact"]] = relationship(order_by="Artifact.name")
    logs: Mapped[list["AttemptLog"]] = relationship(order_by="AttemptLog.attempt")


class Attempt(Base):
    """One worker's try at a job."""

    __tablename__ = "attempts"
    __table_args__ = (
        CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended_has_outcome"),
        # Never two attempts at once, whatever the program does.
        Index("ix_attempts_open", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[UUID] = mapped_column(unique=True)
    worker: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[Outcome | None]
    error: Mapped[str | None]
    traceparent: Mapped[str | None] = mapped_column(doc="W3C trace context of this attempt, if it is traced.")


class Event(Base):
    """An entry of a job's history, as its owner may read it."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[EventKind]
    stage: Mapped[Stage | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Artifact(Base):
    """A published result; its rows are written by the commit that makes the job succeed, and by no other."""

    __tablename__ = "artifacts"
    __table_args__ = (CheckConstraint("bytes >= 0", name="size"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[ArtifactName] = mapped_column(primary_key=True)
    object_key: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    media_type: Mapped[str]


class Checkpoint(Base):
    """What a later attempt goes on from; gone once the job has ended."""

    __tablename__ = "checkpoints"
    __table_args__ = (CheckConstraint("bytes > 0", name="size"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[CheckpointName] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(doc="Which attempt left it.")
    object_key: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    stored_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class AttemptLog(Base):
    """What an attempt's child wrote to its standard error, as an object; written with the attempt's end."""

    __tablename__ = "logs"
    __table_args__ = (CheckConstraint("bytes > 0", name="not_empty"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    object_key: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]


class LogChunk(Base):
    """A piece of a log from before its object is stored; of an attempt that lost its worker, all there is."""

    __tablename__ = "log_chunks"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, doc="Offset of the first byte.")
    content: Mapped[bytes]


class Deletion(Base):
    """What is to be deleted from the store: the commit that removed the last row naming it put it here."""

    __tablename__ = "deletions"

    object_key: Mapped[str] = mapped_column(
        primary_key=True, doc="A key; with a slash at its end, every key that begins so."
    )
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
