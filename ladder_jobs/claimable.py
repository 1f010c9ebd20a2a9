"""Which jobs a worker of this version may claim now: said once, for claims and for wake-ups."""

from ladder_schema.config import READABLE_VERSIONS
from ladder_schema.jobs import JobStatus


def claimable(queue: str) -> str:
    """SQL condition on ``jobs``.

    Args:
        queue: SQL expression for the queue's name; it is not quoted.
    """
    versions = ", ".join(map(str, READABLE_VERSIONS))
    # Literals: Postgres must see the status to use the index of the queued jobs in a prepared statement.
    return (
        f"jobs.status = '{JobStatus.QUEUED}' AND jobs.queue = {queue} "
        f"AND jobs.config_version IN ({versions}) AND jobs.not_before <= now()"
    )
