"""What the API needs besides the settings it shares with the workers."""

from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ladder_jobs.settings import Settings


class ApiSettings(Settings):
    """Settings of one API process."""

    queue: str = Field(
        "gpu",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Queue that new jobs wait in; workers name the queues they serve.",
    )
    max_concurrent_uploads: PositiveInt = Field(
        16,
        description="Uploads received at a time, each in bounded memory; one more is told to come back.",
    )
    max_concurrent_uploads_per_owner: PositiveInt = Field(
        8, description="How many of them may be one owner's, so that none keeps out all others."
    )
    upload_idle_seconds: PositiveFloat = Field(
        60.0, description="How long an upload may send nothing before it is given up."
    )
    upload_min_bytes_per_second: PositiveInt = Field(
        8192, description="How much of an upload has to arrive on average, after a start as long as that."
    )
    upload_max_seconds: PositiveFloat = Field(
        12 * 3600.0, description="How long an upload may take in all; at most half of the grace of orphans."
    )
    ready_seconds: PositiveFloat = Field(
        2.0, description="How long `/readyz` waits for each of the servers the API needs."
    )

    @model_validator(mode="after")
    def _uploads_are_no_orphans_yet(self) -> Self:
        if self.upload_max_seconds > self.orphan_grace_seconds / 2:
            raise ValueError(
                f"upload_max_seconds ({self.upload_max_seconds:g}) is more than half of orphan_grace_seconds "
                f"({self.orphan_grace_seconds:g}): a model could be collected while its dataset still "
                "arrives; lower the one or raise the other"
            )
        return self
