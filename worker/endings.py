"""How an attempt can end, and what went wrong on the way.

* Ending
  x Finished     the child says its results are complete
  x Refused      the job has failed, and trying again would change nothing
  x Died         the child died; another attempt may fare better
  x NotStarted   the child died before it had seen anything of the job
  x Dropped      somebody wants the attempt to stop: the owner, another worker or whoever runs this one
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import MAX_MESSAGE_LENGTH, JobError, Stage
from worker.text import printable


class Cause(StrEnum):
    """Who wants a running attempt to stop."""

    LOST = "lost"
    """The lease is another worker's by now."""
    CANCEL = "cancel"
    """The job's owner changed their mind."""
    SHUTDOWN = "shutdown"
    """This worker is being stopped."""
    BROKEN = "broken"
    """This worker can no longer renew its lease."""


@dataclass(frozen=True)
class Finished:
    """The child says that every result file is complete."""


@dataclass(frozen=True)
class Refused:
    """The job has failed for good."""

    error: JobError


@dataclass(frozen=True)
class Died:
    """The child died without a last message; `error` is the job's, should this have been the last attempt."""

    error: JobError


@dataclass(frozen=True)
class NotStarted:
    """The child died before it had said that it is there: no upload can be the reason."""

    reason: str


@dataclass(frozen=True)
class Dropped:
    """The attempt was stopped from outside."""

    cause: Cause


Ending = Finished | Refused | Died | NotStarted | Dropped


class Interrupted(Exception):  # noqa: N818 - not an error
    """Somebody wants the attempt to stop in the middle of a transfer."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class OutOfTime(Exception):  # noqa: N818 - a state of the job, not of the code
    """The job has run as long as it may, and its child was not even started."""


class OtherVersion(Exception):  # noqa: N818 - a state of the installation, not of the code
    """The child or the database is of another version than the worker: somebody installed one meanwhile."""

    @classmethod
    def of_child(cls, version: int, ours: int) -> Self:
        """A child that speaks another version of the protocol."""
        return cls(
            f"the child speaks version {version} of the protocol and this worker version {ours}: it was "
            "installed anew while the worker ran; start the worker again"
        )


class ProtocolViolation(Exception):  # noqa: N818 - the protocol's own word
    """The child said or left behind something it must not."""

    def as_job_error(self, stage: Stage | None = None) -> JobError:
        """The failed job's error."""
        message = printable(
            f"The process that held the model broke the protocol: {self}.", MAX_MESSAGE_LENGTH
        )
        return JobError(code=ErrorCode.PROTOCOL_VIOLATION, message=message, stage=stage)


class NotFinite(ProtocolViolation):
    """The weights it left behind are no numbers: a training that diverged unnoticed."""

    def as_job_error(self, stage: Stage | None = None) -> JobError:
        """The failed job's error."""
        message = printable(
            f"The training diverged: {self}. Try a smaller retraining.learning_rate.", MAX_MESSAGE_LENGTH
        )
        return JobError(code=ErrorCode.TRAINING_DIVERGED, message=message, stage=stage)


class InputLost(Exception):  # noqa: N818 - a state of the job, not of the code
    """A stored upload is gone, or no longer the bytes that were uploaded."""

    def as_job_error(self) -> JobError:
        """The failed job's error."""
        return JobError(code=ErrorCode.INTERNAL, message=f"{self}. Please upload it again.", stage=None)
