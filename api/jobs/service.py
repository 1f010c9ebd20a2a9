"""What the job routes do. Each function opens its transaction where it can be seen."""

from collections.abc import AsyncIterator
from uuid import UUID

import anyio.to_thread
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from api.errors import Conflict, Gone, NotFound
from api.intake.submission import Submission
from api.jobs.views import EventPage, cursor_after, event_view, job_view, position_of
from api.services import Services
from ladder_jobs import repository
from ladder_jobs.deletions import JobNotFinalError, delete_job
from ladder_jobs.keys import Caller
from ladder_jobs.states import IllegalTransitionError
from ladder_jobs.tables import Artifact, Job
from ladder_schema.jobs import ArtifactName, JobPage, JobStatus, JobView


def parse_id(text: str) -> UUID:
    """A job's id; no job has a malformed one.

    Raises:
        NotFound: The text is no id.
    """
    try:
        return UUID(text)
    except ValueError:
        raise _unknown(text) from None


async def submit(
    services: Services,
    caller: Caller,
    body: AsyncIterator[bytes],
    boundary: bytes,
    *,
    announced: int | None,
    idempotency_key: str | None,
) -> JobView:
    """Receive a body and queue its job, unless an earlier request with the same key has done so.

    Raises:
        Problem: The body is not acceptable.
    """
    earlier = await anyio.to_thread.run_sync(_earlier, services, caller, idempotency_key)
    if earlier is not None:
        return earlier
    submission = await services.intake.receive(body, boundary, announced=announced, owner_id=caller.id)
    try:
        return await anyio.to_thread.run_sync(_create, services, caller, submission, idempotency_key)
    except _NotQueuedError as error:
        await services.intake.discard([submission.model.key, submission.dataset.key])
        if isinstance(error.cause, IntegrityError):
            # Another request with this key was faster.
            earlier = await anyio.to_thread.run_sync(_earlier, services, caller, idempotency_key)
            if earlier is not None:
                return earlier
        raise error.cause from None


def get(services: Services, caller: Caller, job_id: str) -> JobView:
    """One job.

    Raises:
        NotFound: The caller has no such job.
    """
    return job_view(_find(services, caller, job_id), services.retention)


def page(services: Services, caller: Caller, *, after: str | None, limit: int) -> JobPage:
    """Some of the caller's jobs, newest first.

    Raises:
        BadRequest: The cursor is none of ours.
    """
    position = position_of(after) if after is not None else None
    with services.sessions() as session:
        # One more than asked for tells whether there is a next page.
        jobs = repository.list_jobs(session, caller.id, after=position, limit=limit + 1)
    shown = jobs[:limit]
    more = len(jobs) > limit
    return JobPage(
        items=tuple(job_view(job, services.retention) for job in shown),
        next=f"/jobs?limit={limit}&after={cursor_after(shown[-1])}" if more else None,
    )


def cancel(services: Services, caller: Caller, job_id: str) -> JobView:
    """Ask a job to stop.

    Raises:
        NotFound: The caller has no such job.
        Conflict: It has ended.
    """
    try:
        with services.sessions.begin() as session:
            job = repository.request_cancel(session, caller.id, parse_id(job_id))
    except IllegalTransitionError:
        raise Conflict("The job has ended; there is nothing left to cancel.") from None
    if job is None:
        raise _unknown(job_id)
    return job_view(job, services.retention)


def delete(services: Services, caller: Caller, job_id: str) -> None:
    """Remove a job that has ended.

    Raises:
        NotFound: The caller has no such job.
        Conflict: It has not ended.
    """
    try:
        with services.sessions.begin() as session:
            known = delete_job(session, caller.id, parse_id(job_id))
    except JobNotFinalError as error:
        raise Conflict(
            f"The job is {error.status}: cancel it first (POST /jobs/{job_id}/cancel), "
            f"then delete it when /jobs/{job_id} says cancelled."
        ) from None
    if not known:
        raise _unknown(job_id)


def events(services: Services, caller: Caller, job_id: str, *, after: int, limit: int) -> EventPage:
    """Some of a job's history, oldest first.

    Raises:
        NotFound: The caller has no such job.
    """
    with services.sessions() as session:
        found = repository.list_events(session, caller.id, parse_id(job_id), after=after, limit=limit + 1)
    if not found:  # past the last event, or no job of the caller's
        _find(services, caller, job_id)
    shown = found[:limit]
    more = len(found) > limit
    return EventPage(
        items=tuple(event_view(event) for event in shown),
        next=f"/jobs/{job_id}/events?limit={limit}&after={shown[-1].id}" if more else None,
    )


def artifact(services: Services, caller: Caller, job_id: str, name: ArtifactName) -> Artifact:
    """One result of a job.

    Raises:
        NotFound: The caller has no such job, or it has no such result.
        Conflict: The job has not succeeded.
        Gone: Its results have expired.
    """
    job = _find(services, caller, job_id)
    if job.status is not JobStatus.SUCCEEDED:
        ended = job.status.is_final
        advice = f"see /jobs/{job.id}" if ended else f"ask again when /jobs/{job.id} says succeeded"
        raise Conflict(f"The job is {job.status}, so it has no results: {advice}.")
    if job.artifacts_expired_at is not None:
        raise Gone(
            f"The job's results expired and were removed at {job.artifacts_expired_at:%Y-%m-%d %H:%M} UTC: "
            "this service keeps them for some time after a job's end, which `expires_at` of the job told. "
            "To have them again, post the job again."
        )
    for candidate in job.artifacts:
        if candidate.name is name:
            return candidate
    raise NotFound(f"The job has no {name}.")


class _NotQueuedError(Exception):
    """The job is certainly not in the database, so nothing refers to its files."""

    def __init__(self, cause: SQLAlchemyError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _create(
    services: Services, caller: Caller, submission: Submission, idempotency_key: str | None
) -> JobView:
    with services.sessions() as session:
        try:
            job = repository.create_job(
                session,
                caller.id,
                config=submission.config,
                model=submission.model,
                dataset=submission.dataset,
                queue=services.settings.queue,
                idempotency_key=idempotency_key,
            )
            view = job_view(job, services.retention)
        except SQLAlchemyError as error:
            raise _NotQueuedError(error) from error
        # After an error of the commit itself the files stay: it may have happened, and an object nobody
        # refers to is easier to mend than a job without its files.
        session.commit()
    return view


def _earlier(services: Services, caller: Caller, idempotency_key: str | None) -> JobView | None:
    if idempotency_key is None:
        return None
    with services.sessions() as session:
        job = repository.find_by_idempotency_key(session, caller.id, idempotency_key)
        return job_view(job, services.retention) if job else None


def _find(services: Services, caller: Caller, job_id: str) -> Job:
    with services.sessions() as session:
        job = repository.get_job(session, caller.id, parse_id(job_id))
    if job is None:
        raise _unknown(job_id)
    return job


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"You have no job {job_id[:64]!r}. GET /jobs lists yours.")
