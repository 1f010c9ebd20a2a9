"""Keeps attempts' trace contexts with them, so that a later attempt's span can name the earlier ones."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ladder_jobs.claims import Claim
from ladder_jobs.tables import Attempt


def keep_trace(session: Session, claim: Claim, traceparent: str) -> None:
    """Store the context of the attempt's span; nothing happens where the attempt is over."""
    session.execute(
        update(Attempt)
        .where(Attempt.token == claim.token, Attempt.ended_at.is_(None))
        .values(traceparent=traceparent)
        .execution_options(synchronize_session=False)
    )


def earlier_traces(session: Session, claim: Claim) -> Sequence[str]:
    """Contexts of the job's attempts before this one, as far as they were traced."""
    traced = session.scalars(
        select(Attempt.traceparent)
        .where(
            Attempt.job_id == claim.job_id,
            Attempt.number < claim.attempt,
            Attempt.traceparent.is_not(None),
        )
        .order_by(Attempt.number)
    )
    return [parent for parent in traced if parent is not None]
