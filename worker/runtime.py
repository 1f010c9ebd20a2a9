"""How long a job may still run: its own limit or the service's, less what earlier attempts have taken."""

import time
from dataclasses import dataclass, field
from typing import Self

from ladder_jobs.claims import Claim
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, Stage
from worker.settings import WorkerSettings


@dataclass(frozen=True)
class Runtime:
    """A job's time, running from when this is made.

    Attributes:
        own_seconds: What ``config.max_runtime`` allows; None where it does not say.
        most_seconds: What the service allows any job.
        used_seconds: What earlier attempts have taken, whatever became of them.
    """

    own_seconds: float | None
    most_seconds: float
    used_seconds: float
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, claim: Claim, settings: WorkerSettings) -> Self:
        """The time of a job that has just been claimed."""
        return cls(claim.config.max_runtime, settings.job_max_seconds, claim.used_seconds)

    @property
    def is_over(self) -> bool:
        """Whether the job has run as long as it may."""
        return self.used_seconds + time.monotonic() - self._began > self._allowed_seconds

    def as_job_error(self, stage: Stage | None) -> JobError:
        """The error of a job that has run too long."""
        if self._allowed_seconds == self.own_seconds:
            message = (
                f"The job ran longer than config.max_runtime, {self.own_seconds:g} s for all its attempts "
                f"together. Raise max_runtime, up to {self.most_seconds:g}, or give the job less to do: a "
                "quicker preset, fewer epochs or evaluation samples."
            )
        else:
            message = (
                f"The job ran longer than the {self.most_seconds:g} s that a job may run here, all its "
                "attempts together. Give it less to do: a quicker preset, fewer epochs or evaluation samples."
            )
        return JobError(code=ErrorCode.TIME_LIMIT, message=message, stage=stage)

    @property
    def _allowed_seconds(self) -> float:
        return self.most_seconds if self.own_seconds is None else min(self.own_seconds, self.most_seconds)
