"""What can go wrong for a user of the client.

ClientError
  - UnreachableError            no answer from the service
  - UnexpectedAnswerError       an answer this client cannot read: a proxy's page, or a newer service's
  - ApiError                    an answer that says no, as RFC 9457 problem+json
      - UnauthorizedError       401: the key is missing, unknown or revoked
      - NotFoundError           404: no such job of yours, or it has no such result
      - RejectedError           any other 4xx: the request has to change
      - ServerFaultError        5xx: the service has to change
  - JobUnfinishedError          wait() found a final job that did not succeed
      - JobFailed
      - JobCancelled
  - WaitTimeoutError            wait() ran out of time; the job goes on
  - CorruptedDownloadError      what arrived is not what the service announced
"""

from typing import Any, Self

import httpx

from ladder_schema.jobs import JobView


class ClientError(Exception):
    """Base of this package's errors."""


class UnreachableError(ClientError):
    """The service did not answer, or not in HTTP."""


class UnexpectedAnswerError(ClientError):
    """The answer is none of those this client knows: something else answered, or a newer service did."""


class ApiError(ClientError):
    """The service's own refusal.

    Attributes:
        status: HTTP status.
        problem: The problem+json document; empty when the answer had none (a proxy's, say).
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        title = problem.get("title") or f"HTTP status {status}"
        detail = problem.get("detail")
        super().__init__(f"{title}: {detail}" if detail else str(title))

    @classmethod
    def of(cls, response: httpx.Response) -> "ApiError":
        """The error that a response, read to its end, stands for."""
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        return _class_for(response.status_code)(
            response.status_code, problem if isinstance(problem, dict) else {}
        )


class UnauthorizedError(ApiError):
    """The key is missing, unknown or revoked."""


class NotFoundError(ApiError):
    """No such job of yours, or it has no such result."""


class RejectedError(ApiError):
    """The request cannot be served as it is."""


class ServerFaultError(ApiError):
    """The service failed."""


class JobUnfinishedError(ClientError):
    """The job is final and has no results.

    Attributes:
        job: The job as it ended.
    """

    def __init__(self, job: JobView, message: str) -> None:
        self.job = job
        super().__init__(message)


class JobFailed(JobUnfinishedError):  # noqa: N818 - the job's own state
    """The job failed; ``job.error`` says why and how to mend it."""

    @classmethod
    def of(cls, job: JobView) -> Self:
        """The error for a failed job."""
        why = f"{job.error.message} ({job.error.code})" if job.error else "the service gave no reason"
        return cls(job, f"job {job.id} failed: {why}")


class JobCancelled(JobUnfinishedError):  # noqa: N818 - the job's own state
    """The job was cancelled."""

    @classmethod
    def of(cls, job: JobView) -> Self:
        """The error for a cancelled job."""
        return cls(job, f"job {job.id} was cancelled")


class WaitTimeoutError(ClientError):
    """The job was not final in time; it goes on."""


class CorruptedDownloadError(ClientError):
    """The bytes that arrived are not those the service announced."""


def _class_for(status: int) -> type[ApiError]:
    special: dict[int, type[ApiError]] = {401: UnauthorizedError, 404: NotFoundError}
    return special.get(status, ServerFaultError if status >= 500 else RejectedError)
