"""Attempts' logs: pieces in Postgres while a child runs, one object when its attempt has ended.

A worker adds pieces with its heartbeats, so they are fenced as those are. The commit that ends the attempt
names the object and removes the pieces. Where there is no object, because the worker was lost or the store
was down, the pieces stay and are the log.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Select, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ladder_jobs.claims import Claim
from ladder_jobs.objects import StoredObject
from ladder_jobs.tables import Attempt, AttemptLog, Job, LogChunk

MAX_CHUNK_BYTES = 16 << 10
"""How much of a log one heartbeat carries."""

MAX_LIVE_BYTES = 1 << 20
"""How much of a job's logs is kept in pieces, for all attempts together."""

# A row costs this much however short its content, so a child that writes a byte a second fills no table.
_LEAST_CHUNK_BYTES = 256


@dataclass(frozen=True)
class LogState:
    """What there is of an attempt's log, from a position on.

    Attributes:
        stored: The whole log, once its object is stored.
        content: What follows the position in the pieces; empty where ``stored`` is set.
        is_over: Whether the attempt has ended, so that nothing follows what is here.
        latest: Number of the job's latest attempt; 0 before the first.
        is_final: Whether the job has ended, so that no attempt follows the latest.
    """

    stored: AttemptLog | None
    content: bytes
    is_over: bool
    latest: int
    is_final: bool


def live_budget(session: Session, job_id: UUID) -> int:
    """How many bytes of the job's logs may still be added in pieces."""
    cost = func.greatest(func.octet_length(LogChunk.content), _LEAST_CHUNK_BYTES)
    spent = session.scalar(select(func.sum(cost)).where(LogChunk.job_id == job_id))
    return MAX_LIVE_BYTES - int(spent or 0)


def chunk_cost(content: bytes) -> int:
    """How much of the budget a piece takes."""
    return max(len(content), _LEAST_CHUNK_BYTES)


def add_chunk(session: Session, claim: Claim, start: int, content: bytes) -> None:
    """Add a piece of the log; nothing happens where the job is no longer the worker's, or the piece is there.

    Args:
        session: The caller's transaction.
        claim: The job.
        start: Offset of the piece in the log.
        content: The piece, at most :data:`MAX_CHUNK_BYTES` of it.
    """
    columns = [LogChunk.job_id, LogChunk.attempt, LogChunk.start, LogChunk.content]
    held = _while_held(claim, literal(start), literal(content, LargeBinary()))
    session.execute(insert(LogChunk).from_select(columns, held).on_conflict_do_nothing())


def record_log(session: Session, claim: Claim, stored: StoredObject) -> None:
    """Name the log's object, and remove the pieces, in the transaction that ends the attempt.

    Nothing happens where the job is no longer the worker's.
    """
    columns = [
        AttemptLog.job_id, AttemptLog.attempt, AttemptLog.object_key, AttemptLog.bytes, AttemptLog.sha256
    ]  # fmt: skip
    held = _while_held(claim, literal(stored.key), literal(stored.bytes), literal(stored.sha256))
    named = session.execute(
        insert(AttemptLog).from_select(columns, held).on_conflict_do_nothing().returning(AttemptLog.attempt)
    )
    if named.first() is not None:
        session.execute(
            delete(LogChunk).where(LogChunk.job_id == claim.job_id, LogChunk.attempt == claim.attempt)
        )


def read_log(session: Session, job_id: UUID, attempt: int, *, start: int = 0) -> LogState | None:
    """Look at an attempt's log from a position on.

    Args:
        session: The caller's.
        job_id: Which job; whether the caller may see it has been decided.
        attempt: Which attempt.
        start: How many bytes of the log are known already, all of them read from here.

    Returns:
        None where there is no such job any more.
    """
    # The state first: of an attempt that had ended by then, all there is of the log can be read.
    state = session.execute(
        select(Job.status, Job.attempt, Attempt.ended_at)
        .outerjoin(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == attempt))
        .where(Job.id == job_id)
    ).one_or_none()
    if state is None:
        return None
    stored = session.get(AttemptLog, (job_id, attempt))
    content = b"" if stored is not None else _read_chunks(session, job_id, attempt, start)
    return LogState(
        stored=stored,
        content=content,
        is_over=state.ended_at is not None,
        latest=state.attempt,
        is_final=state.status.is_final,
    )


def _read_chunks(session: Session, job_id: UUID, attempt: int, start: int) -> bytes:
    return b"".join(
        session.scalars(
            select(LogChunk.content)
            .where(LogChunk.job_id == job_id, LogChunk.attempt == attempt, LogChunk.start >= start)
            .order_by(LogChunk.start)
        )
    )


def _while_held(claim: Claim, *values: ColumnElement[Any]) -> Select[Any]:
    """One row of job, attempt and values where the job is still the worker's, else none."""
    return select(Job.id, literal(claim.attempt), *values).where(
        Job.id == claim.job_id, Job.token == claim.token
    )
