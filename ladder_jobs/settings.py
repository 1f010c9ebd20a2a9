"""Settings shared by the API and the workers: read once at an entry point, then passed on.

Every field is an environment variable with the prefix ``LADDER_`` (``LADDER_DATABASE_URL``…), documented in
``docs/settings.md``; a test compares the two.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 1 << 20
_GIB = 1 << 30

LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]


class Settings(BaseSettings):
    """What both the API and a worker need to reach Postgres, the broker and the object store."""

    model_config = SettingsConfigDict(
        env_prefix="LADDER_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: SecretStr = Field(
        description="SQLAlchemy URL of Postgres 14 or newer, e.g. `postgresql+psycopg://user:password@host/ladder`."
    )
    broker_url: SecretStr = Field(description="Celery broker, e.g. `redis://:password@host:6379/0`.")
    s3_endpoint: str = Field(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?$",
        description="Object store as `host:port`, without a scheme.",
    )
    s3_access_key: SecretStr = Field(description="Access key of the object store.")
    s3_secret_key: SecretStr = Field(description="Secret key of the object store.")
    s3_bucket: str = Field(
        "ladder", description="Bucket that holds uploads and artifacts; created when missing."
    )
    s3_secure: bool = Field(default=False, description="Use TLS towards the object store.")
    s3_region: str | None = Field(
        default=None, description="Region of the bucket, where the store wants one."
    )

    max_model_bytes: PositiveInt = Field(2 * _GIB, description="Largest model upload accepted, in bytes.")
    max_dataset_bytes: PositiveInt = Field(
        64 * _GIB, description="Largest dataset upload accepted, in bytes."
    )

    lease_seconds: PositiveFloat = Field(15.0, description="How long a claimed job stays a silent worker's.")
    heartbeat_seconds: PositiveFloat = Field(1.0, description="How often a worker renews its lease.")
    sweep_seconds: PositiveFloat = Field(
        2.0, description="How often housekeeping looks for lost wake-ups and expired leases."
    )
    max_child_deaths: Annotated[int, Field(ge=1)] = Field(
        3, description="Attempts whose child died before a job fails instead of being tried again."
    )
    max_worker_losses: Annotated[int, Field(ge=1)] = Field(
        10, description="Attempts that lost their worker before a job fails instead of being tried again."
    )
    job_max_seconds: PositiveFloat = Field(
        24 * 3600.0,
        description="Longest a job may run, all its attempts together; its `max_runtime` may say less.",
    )
    queued_max_seconds: PositiveFloat = Field(
        7 * 24 * 3600.0, description="How long a job may wait without any worker taking it before it fails."
    )
    cancel_max_seconds: PositiveFloat = Field(
        60.0, description="How long after a cancel a job is cancelled even if its worker has not ended it."
    )
    upload_retention_days: PositiveFloat | None = Field(
        None, description="Days after a job's end that its uploads are kept; empty keeps them."
    )
    artifact_retention_days: PositiveFloat | None = Field(
        None,
        description="Days after a job's end that what it produced is kept: results, log; empty keeps them.",
    )
    job_retention_days: PositiveFloat | None = Field(
        None, description="Days after a job's end that it is kept with all there is of it; empty keeps it."
    )
    orphan_grace_seconds: PositiveFloat = Field(
        24 * 3600.0,
        description="Age at which an object that no job names is deleted, and an unfinished upload aborted.",
    )
    work_dir: Path = Field(
        Path("/var/tmp/ladder"),  # noqa: S108 - created by the worker, mode 0700
        description="Where workers keep the files of running attempts; nobody else may be able to write "
        "there.",
    )
    log_level: LogLevel = Field("INFO", description="Level of the structured logs.")
    metrics_listen: str | None = Field(
        None,
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[\w.-]+):\d{1,5}$",
        description="`host:port` of `/metrics` and `/healthz`, for this process alone and without a "
        "password; none serves neither.",
    )
    traces_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="URL that takes OTLP traces, e.g. `http://collector:4318/v1/traces`; none, and no "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` either, traces nothing.",
    )

    @model_validator(mode="after")
    def _leases_survive_a_lost_heartbeat(self) -> Self:
        if self.heartbeat_seconds > self.lease_seconds / 3:
            raise ValueError(
                f"heartbeat_seconds ({self.heartbeat_seconds:g}) is more than a third of lease_seconds "
                f"({self.lease_seconds:g}): a worker could lose a job it still runs"
            )
        return self

    @model_validator(mode="after")
    def _nothing_outlives_its_job(self) -> Self:
        for name in ("upload_retention_days", "artifact_retention_days"):
            kept = getattr(self, name)
            if kept is not None and self.job_retention_days is not None and kept > self.job_retention_days:
                raise ValueError(
                    f"{name} ({kept:g}) is more than job_retention_days ({self.job_retention_days:g}), "
                    "with which everything of a job goes: lower the one or raise the other"
                )
        return self
