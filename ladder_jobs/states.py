"""The life of a job as data: which state may follow which, and why.

Whatever writes a state goes through :func:`check`, so this table is the whole truth about it.
"""

from enum import StrEnum
from typing import NamedTuple

from ladder_schema.jobs import JobStatus


class Transition(NamedTuple):
    """One permitted change of state."""

    source: JobStatus
    target: JobStatus
    cause: str


TRANSITIONS = (
    Transition(JobStatus.QUEUED, JobStatus.RUNNING, "a worker claims it"),
    Transition(JobStatus.QUEUED, JobStatus.CANCELLED, "its owner cancels it"),
    Transition(JobStatus.QUEUED, JobStatus.FAILED, "no worker takes it in time"),
    Transition(JobStatus.RUNNING, JobStatus.SUCCEEDED, "its worker publishes the results"),
    Transition(
        JobStatus.RUNNING, JobStatus.FAILED, "it cannot succeed, took too long, or was tried too often"
    ),
    Transition(JobStatus.RUNNING, JobStatus.QUEUED, "its worker gives it back, or is lost"),
    Transition(JobStatus.RUNNING, JobStatus.CANCELLING, "its owner cancels it"),
    # A cancel that was accepted is kept: what the worker says afterwards no longer changes the end.
    Transition(
        JobStatus.CANCELLING, JobStatus.CANCELLED, "its worker stops, finishes, is lost, or takes too long"
    ),
)

LEASED_STATUSES = frozenset({JobStatus.RUNNING, JobStatus.CANCELLING})
"""States in which a worker holds the job: it has a token and a lease."""

_PERMITTED = frozenset((source, target) for source, target, _ in TRANSITIONS)


class IllegalTransitionError(Exception):
    """A change of state the table does not know: a fault of the program, never of its input."""


def check(source: JobStatus, target: JobStatus) -> None:
    """Make sure the table permits a change of state.

    Raises:
        IllegalTransitionError: It does not.
    """
    if (source, target) not in _PERMITTED:
        raise IllegalTransitionError(f"a job never goes from {source} to {target}")


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    """The worker gave the job back in good order."""
    CHILD_DIED = "child_died"
    WORKER_LOST = "worker_lost"


class EventKind(StrEnum):
    """What an entry of a job's history tells."""

    CREATED = "created"
    CLAIMED = "claimed"
    STAGE = "stage"
    REQUEUED = "requeued"
    CANCEL_REQUESTED = "cancel_requested"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


EVENT_OF = {
    JobStatus.QUEUED: EventKind.REQUEUED,
    JobStatus.RUNNING: EventKind.CLAIMED,
    JobStatus.CANCELLING: EventKind.CANCEL_REQUESTED,
    JobStatus.SUCCEEDED: EventKind.SUCCEEDED,
    JobStatus.FAILED: EventKind.FAILED,
    JobStatus.CANCELLED: EventKind.CANCELLED,
}
"""The event that records the arrival in a state."""
