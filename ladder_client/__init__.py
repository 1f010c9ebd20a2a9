"""The Python client and the ``ladder`` command line: HTTP only, no torch, no server."""

from ladder_client.client import Client
from ladder_client.errors import (
    ApiError,
    ClientError,
    CorruptedDownloadError,
    JobCancelled,
    JobFailed,
    JobUnfinishedError,
    NotFoundError,
    RejectedError,
    ServerFaultError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)

__all__ = [
    "ApiError",
    "Client",
    "ClientError",
    "CorruptedDownloadError",
    "JobCancelled",
    "JobFailed",
    "JobUnfinishedError",
    "NotFoundError",
    "RejectedError",
    "ServerFaultError",
    "UnauthorizedError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "WaitTimeoutError",
]
