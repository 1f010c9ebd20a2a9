"""What the API says about a job: its states, stages, errors and artifacts."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from ladder_schema.config import JobConfig
from ladder_schema.errors import ErrorCode

MAX_MESSAGE_LENGTH = 4_000


class JobStatus(StrEnum):
    """States of a job; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Stage(StrEnum):
    """Stages of a running job, in their order; a method skips those it does not need."""

    VALIDATE = "validate"
    LATENTS = "latents"
    BOUNDARY = "boundary"
    GENERATOR = "generator"
    EXAMPLES = "examples"
    RETRAIN = "retrain"
    EVALUATE = "evaluate"
    REPORT = "report"

    def precedes(self, other: "Stage") -> bool:
        """Whether this stage comes before another."""
        return _ORDER[self] < _ORDER[other]


_ORDER = {stage: place for place, stage in enumerate(Stage)}


class ArtifactName(StrEnum):
    """What a finished job offers for download."""

    MODEL = "model"
    WEIGHTS = "weights"
    EXAMPLES = "examples"
    REPORT = "report"
    REPORT_HTML = "report.html"
    REPORT_PDF = "report.pdf"
    MODEL_CARD = "model-card"


FILE_NAMES = {
    ArtifactName.MODEL: "model.pt",
    ArtifactName.WEIGHTS: "weights.safetensors",
    ArtifactName.EXAMPLES: "examples.zip",
    ArtifactName.REPORT: "report.json",
    ArtifactName.REPORT_HTML: "report.html",
    ArtifactName.REPORT_PDF: "report.pdf",
    ArtifactName.MODEL_CARD: "model-card.md",
}
"""What a downloaded result is called."""


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobError(_View):
    """Why a job failed."""

    code: ErrorCode = Field(description="Stable identifier of the cause.")
    message: str = Field(max_length=MAX_MESSAGE_LENGTH, description="What is wrong and how to mend it.")
    stage: Stage | None = Field(None, description="Where it happened; null before the first stage.")


class ArtifactView(_View):
    """One downloadable result."""

    name: ArtifactName
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    media_type: str
    href: str = Field(description="Path to download it from, relative to the API's root.")


def _known(listed: Any) -> Any:  # noqa: ANN401 - an answer that has not been validated
    """What a client of this version can name: a service that is newer may list results of further kinds."""
    if not isinstance(listed, list | tuple):
        return listed
    names = set(ArtifactName)
    return [
        item for item in listed
        if not (isinstance(item, dict) and isinstance(item.get("name"), str) and item["name"] not in names)
    ]  # fmt: skip


class LogView(_View):
    """What the process of one attempt wrote; of a running attempt, ask without its being listed."""

    attempt: Annotated[int, Field(ge=1)] = Field(description="Which attempt, counted from 1.")
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    href: str = Field(description="Path to download it from, relative to the API's root.")


class JobView(_View):
    """A job as its owner sees it."""

    id: UUID
    status: JobStatus
    stage: Stage | None = None
    progress: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="Share of the work done, 0 to 1."
    )
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(
        None, description="When what an ended job made is removed; null where it is kept."
    )
    expired_at: datetime | None = Field(None, description="When it was removed.")
    config: JobConfig | dict[str, JsonValue] = Field(
        union_mode="left_to_right",
        description="The configuration with every default filled in; as it was stored, where another version "
        "of the service did so.",
    )
    error: JobError | None = None
    artifacts: Annotated[tuple[ArtifactView, ...], BeforeValidator(_known)] = ()
    logs: tuple[LogView, ...] = ()


class JobPage(_View):
    """One page of an owner's jobs, newest first."""

    items: tuple[JobView, ...]
    next: str | None = Field(None, description="Path of the next page; null on the last.")
