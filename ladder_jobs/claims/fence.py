"""The fence: whoever writes about a job names the token of its claim; nobody else gets through."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from ladder_jobs.claims.taking import Claim
from ladder_jobs.tables import Job


class LeaseLost(Exception):  # noqa: N818 - an event to act on, not an error
    """The job is no longer this worker's: drop the work, write nothing more."""


def hold(session: Session, claim: Claim) -> Job:
    """Lock the claimed job's row for the rest of the transaction.

    Raises:
        LeaseLost: The job is no longer this worker's.
    """
    job = session.scalar(
        select(Job)
        .where(Job.id == claim.job_id, Job.token == claim.token)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise LeaseLost(f"job {claim.job_id}: attempt {claim.attempt} no longer holds it")
    return job
