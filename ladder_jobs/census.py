"""How many jobs are in which state that is not final, and how long the oldest has waited."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from ladder_jobs.states import LEASED_STATUSES
from ladder_schema.jobs import JobStatus

_LEASED = ", ".join(f"'{status}'" for status in JobStatus if status in LEASED_STATUSES)

# A job waits since it was posted, or since its last attempt ended, or since its pause is over. Only rows that
# count are read, by index, however many final jobs and attempts there are; final jobs are not counted.
_CENSUS = text(
    f"""
SELECT queue, '{JobStatus.QUEUED}' AS status, count(*) AS jobs,
    greatest(0, extract(epoch FROM now() - min(greatest(created_at, not_before, CASE WHEN attempt > 0 THEN (
        SELECT ended_at FROM attempts WHERE job_id = jobs.id AND number = jobs.attempt
    ) END))))::float8 AS oldest_seconds
FROM jobs WHERE status = '{JobStatus.QUEUED}' GROUP BY queue
UNION ALL
SELECT queue, status, count(*), 0 FROM jobs WHERE status IN ({_LEASED}) GROUP BY queue, status
"""  # noqa: S608 - of constants
)
_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Count:
    """Jobs of a queue in a state.

    Attributes:
        queue: Which queue.
        status: Which state.
        jobs: How many.
        oldest_seconds: How long the one has waited that has waited longest; 0 unless they are queued.
    """

    queue: str
    status: JobStatus
    jobs: int
    oldest_seconds: float


def count_jobs(session: Session) -> Sequence[Count]:
    """Count the jobs that are not final, or give up after some seconds.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Postgres does not answer, or takes too long.
    """
    session.execute(text(f"SET LOCAL statement_timeout = '{_TIMEOUT_SECONDS}s'"))
    return [
        Count(row.queue, JobStatus(row.status), row.jobs, row.oldest_seconds)
        for row in session.execute(_CENSUS)
    ]
