"""What the API asks of the database: one owner's jobs, page by page, and cancels in every state."""

from uuid import uuid4

import pytest
from sqlalchemy import update

from ladder_jobs.claims import settle_cancelled, settle_failed, settle_succeeded
from ladder_jobs.repository import Position, get_job, list_events, list_jobs, request_cancel
from ladder_jobs.states import EventKind, IllegalTransitionError
from ladder_jobs.tables import Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus

ERROR = JobError(code=ErrorCode.INTERNAL, message="Broken.")


def pages(jobs, owner, limit):
    after = None
    while True:
        page = jobs.do(list_jobs, owner, after=after, limit=limit)
        if not page:
            return
        yield [job.id for job in page]
        after = Position(page[-1].created_at, page[-1].id)


@pytest.mark.parametrize("limit", [1, 3, 7, 10])
def test_pages_show_every_job_once_newest_first(jobs, alice, limit):
    created = [jobs.queue(alice) for _ in range(7)]
    shown = list(pages(jobs, alice, limit))
    assert [job_id for page in shown for job_id in page] == created[::-1]
    assert all(len(page) <= limit for page in shown)


def test_jobs_made_in_the_same_instant_are_paged_too(jobs, alice, sessions):
    created = {jobs.queue(alice) for _ in range(5)}
    with sessions.begin() as session:
        session.execute(update(Job).values(created_at=jobs.row(next(iter(created))).created_at))
    shown = [job_id for page in pages(jobs, alice, 2) for job_id in page]
    assert len(shown) == 5
    assert set(shown) == created


def test_new_jobs_do_not_shift_a_page(jobs, alice):
    old = [jobs.queue(alice) for _ in range(4)]
    first = jobs.do(list_jobs, alice, after=None, limit=2)
    jobs.queue(alice)
    second = jobs.do(list_jobs, alice, after=Position(first[-1].created_at, first[-1].id), limit=2)
    assert [job.id for job in second] == [old[1], old[0]]


def test_an_owner_sees_its_own_jobs_only(jobs, alice):
    bob = jobs.owner("bob")
    job_id = jobs.queue(alice)
    assert jobs.do(get_job, alice, job_id).id == job_id
    assert jobs.do(get_job, bob, job_id) is None
    assert jobs.do(list_jobs, bob, after=None, limit=9) == []
    assert jobs.do(list_events, bob, job_id) == []
    assert jobs.do(request_cancel, bob, job_id) is None
    assert jobs.do(request_cancel, alice, uuid4()) is None
    assert jobs.row(job_id).status is JobStatus.QUEUED


def test_a_queued_job_is_cancelled_at_once(jobs, alice):
    job_id = jobs.queue(alice)
    job = jobs.do(request_cancel, alice, job_id)
    assert job.status is JobStatus.CANCELLED
    assert job.finished_at == job.cancel_requested_at is not None
    assert jobs.claim() is None


def test_a_running_job_is_cancelled_by_its_worker(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    first = jobs.do(request_cancel, alice, job_id)
    again = jobs.do(request_cancel, alice, job_id)
    assert first.status is again.status is JobStatus.CANCELLING
    assert first.cancel_requested_at == again.cancel_requested_at
    jobs.do(settle_cancelled, claim)
    assert jobs.row(job_id).status is JobStatus.CANCELLED
    with sessions() as session:
        kinds = [event.kind for event in list_events(session, alice, job_id)]
    assert kinds == [
        EventKind.CREATED,
        EventKind.CLAIMED,
        EventKind.CANCEL_REQUESTED,
        EventKind.CANCELLED,
    ]


def test_a_cancel_may_be_asked_for_again_after_it_is_done(jobs, alice):
    job_id = jobs.queue(alice)
    first = jobs.do(request_cancel, alice, job_id)
    again = jobs.do(request_cancel, alice, job_id)
    assert again.status is JobStatus.CANCELLED
    assert again.finished_at == first.finished_at


@pytest.mark.parametrize("end", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_a_job_that_ended_otherwise_is_not_cancelled(jobs, alice, end):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    if end is JobStatus.SUCCEEDED:
        jobs.do(settle_succeeded, claim, [])
    else:
        jobs.do(settle_failed, claim, ERROR)
    with pytest.raises(IllegalTransitionError):
        jobs.do(request_cancel, alice, job_id)
    assert jobs.row(job_id).status is end
