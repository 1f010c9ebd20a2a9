"""What can go wrong with a model, a dataset or a run.

* HardeningError
  x ModelError      the uploaded model
  x DatasetError    the uploaded dataset
  x ConfigError     a configuration that does not suit them
  x TrainingError   the run itself
* StopRequested     not an error: a progress callback asked to stop
"""

from typing import Self

from ladder_schema.errors import ErrorCode


class HardeningError(Exception):
    """A failure a user can read: ``message`` says what is wrong and how to mend it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ModelError(HardeningError):
    """The uploaded model cannot be hardened."""

    @classmethod
    def unsupported(cls, message: str) -> Self:
        """The error for a program that is sound, and holds what this service does not run."""
        return cls(ErrorCode.MODEL_UNSUPPORTED, message)


class DatasetError(HardeningError):
    """The uploaded dataset cannot be used."""


class ConfigError(HardeningError):
    """The configuration is valid by itself but not for this model and dataset."""


class TrainingError(HardeningError):
    """A training stage failed, for example by diverging."""


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """The progress callback asked the pipeline to stop; a training under way is kept first."""
