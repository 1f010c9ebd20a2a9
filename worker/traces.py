"""An attempt as a span: within its job's trace, and linked to the attempts before it."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs import tracing
from ladder_jobs.claims import Claim
from ladder_jobs.traces import earlier_traces, keep_trace

log = structlog.get_logger(__name__)


@contextmanager
def attempt_span(sessions: sessionmaker[Session], claim: Claim) -> Iterator[None]:
    """Span of an attempt, around those of its parts; without tracing, nothing, and no query."""
    if not tracing.is_tracing():
        yield
        return
    attributes: dict[str, tracing.Value] = {"job": str(claim.job_id), "attempt": claim.attempt}
    with tracing.span(
        "attempt", parent=claim.traceparent, links=_earlier(sessions, claim), attributes=attributes
    ):
        _keep(sessions, claim)
        yield


def _earlier(sessions: sessionmaker[Session], claim: Claim) -> list[str]:
    if claim.attempt == 1:
        return []
    try:
        with sessions() as session:
            return list(earlier_traces(session, claim))
    except SQLAlchemyError as error:
        log.warning("trace_not_linked", error=type(error).__name__)
        return []


def _keep(sessions: sessionmaker[Session], claim: Claim) -> None:
    parent = tracing.traceparent()
    if parent is None:
        return
    try:
        with sessions.begin() as session:
            keep_trace(session, claim, parent)
    except SQLAlchemyError as error:
        log.warning("trace_not_kept", error=type(error).__name__)
