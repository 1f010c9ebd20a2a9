"""Attempts' logs: as they stand, or followed until the job ends."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import anyio.to_thread
import structlog
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import iterate_in_threadpool
from starlette.types import Receive, Scope, Send

from api.errors import NotFound
from api.jobs import service
from api.jobs.downloads import LOG_MEDIA_TYPE, Download, guarded, serve, short_id
from api.metrics import LOGS_FOLLOWED
from api.services import Services
from ladder_jobs.joblogs import LogState, read_log
from ladder_jobs.keys import Caller
from ladder_jobs.objects import ObjectMissingError, StoreError
from ladder_jobs.tables import AttemptLog

log = structlog.get_logger(__name__)

ATTEMPT_HEADER = "Ladder-Attempt"
ANSWER: dict[str, Any] = {
    "description": "What the attempt's process wrote: untrusted text, control characters included",
    "content": {"text/plain": {}},
    "headers": {ATTEMPT_HEADER: {"description": "Which attempt", "schema": {"type": "integer"}}},
}
_POLL_SECONDS = 0.5
_OUTAGE_SECONDS = 2.0


@dataclass(frozen=True)
class FoundLog:
    """An attempt of a job of the caller's, and what there is of its log."""

    job_id: UUID
    attempt: int
    state: LogState

    @property
    def headers(self) -> dict[str, str]:
        """What every answer with it carries."""
        return guarded(f"{short_id(self.job_id)}-{self.attempt}.log") | {ATTEMPT_HEADER: str(self.attempt)}


def find(services: Services, caller: Caller, job_id: str, attempt: int | None) -> FoundLog:
    """The log of an attempt, by default of the latest, or of the first where there is none yet.

    Raises:
        NotFound: The caller has no such job, or it has no such attempt.
        Gone: The job's files have expired.
    """
    job = service.find(services, caller, job_id)
    service.check_kept(job)
    number = attempt or max(1, job.attempt)
    with services.sessions() as session:
        state = read_log(session, job.id, number)
    if state is None:  # deleted meanwhile
        raise service.unknown(job_id)
    if number > max(1, state.latest):
        raise NotFound(f"The job has no attempt {number}; its latest is {state.latest}.")
    return FoundLog(job.id, number, state)


def answer(request: Request, services: Services, found: FoundLog) -> Response:
    """The log as it stands.

    Raises:
        RangeNotSatisfiable: The range lies outside the log.
        StoreError: The object store failed.
    """
    if found.state.stored is not None:
        return serve(request, services.store, Download.of_log(found.state.stored, found.headers))
    headers = found.headers | {"Cache-Control": "no-store"}
    return Response(found.state.content, headers=headers, media_type=LOG_MEDIA_TYPE)


def follow(services: Services, caller: Caller, found: FoundLog, *, skip: int) -> Response:
    """The log of this attempt and all later ones while they are written, less some bytes of its beginning.

    The same bytes come however often one asks, so whoever lost the connection can go on where it broke.
    """
    return _Following(
        services.followers.taken(caller.id),
        _skipping(_follow(services, found), skip),
        headers=found.headers | {"Cache-Control": "no-store"},
    )


class _Following(StreamingResponse):
    """Takes its slot before it begins to answer, and gives it back however the answer ends."""

    def __init__(
        self, slot: AbstractContextManager[None], content: AsyncIterator[bytes], headers: dict[str, str]
    ) -> None:
        super().__init__(content, headers=headers, media_type=LOG_MEDIA_TYPE)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            Unavailable: Too many logs are followed already.
        """
        with self._slot, LOGS_FOLLOWED.track_inprogress():
            await super().__call__(scope, receive, send)


async def _follow(services: Services, found: FoundLog) -> AsyncIterator[bytes]:
    attempt, start = found.attempt, 0
    while True:
        state = await _look(services, found.job_id, attempt, start)
        if state is None:  # deleted meanwhile
            return
        if state.stored is not None:
            async for chunk in _rest(services, state.stored, start):
                yield chunk
            start = state.stored.bytes
        elif state.content:
            start += len(state.content)
            yield state.content
            continue
        if (state.stored or state.is_over) and state.latest > attempt:
            attempt, start = attempt + 1, 0
            yield f"\n--- attempt {attempt} ---\n".encode()
        elif state.is_final:
            return
        else:
            await anyio.sleep(_POLL_SECONDS)


async def _look(services: Services, job_id: UUID, attempt: int, start: int) -> LogState | None:
    """See what there is; while the database is away, wait for it."""

    def look() -> LogState | None:
        with services.sessions() as session:
            return read_log(session, job_id, attempt, start=start)

    while True:
        try:
            return await anyio.to_thread.run_sync(look, limiter=services.log_threads)
        except SQLAlchemyError as error:
            log.warning("log_not_read", job=str(job_id), error=type(error).__name__)
            await anyio.sleep(_OUTAGE_SECONDS)


async def _rest(services: Services, stored: AttemptLog, start: int) -> AsyncIterator[bytes]:
    """A stored log from a position on; while the object store is away, wait for it."""
    while start < stored.bytes:
        try:
            chunks = await anyio.to_thread.run_sync(
                partial(services.store.open, stored.object_key, offset=start), limiter=services.log_threads
            )
            async for chunk in iterate_in_threadpool(chunks):
                start += len(chunk)
                yield chunk
        except ObjectMissingError:
            return  # deleted meanwhile
        except StoreError as error:
            log.warning("log_not_read", job=str(stored.job_id), error=str(error))
            await anyio.sleep(_OUTAGE_SECONDS)


async def _skipping(chunks: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if skip < len(chunk):
            yield chunk[skip:]
        skip = max(0, skip - len(chunk))
