"""Jobs are counted by queue and state, and a wait begins when a job could first be claimed."""

from datetime import timedelta

import pytest
from sqlalchemy import func, text, update

from ladder_jobs.census import Count, count_jobs
from ladder_jobs.claims import release, settle_failed
from ladder_jobs.repository import request_cancel
from ladder_jobs.tables import Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus

ERROR = JobError(code=ErrorCode.INTERNAL, message="x", stage=None)


def counted(jobs) -> dict[tuple[str, JobStatus], Count]:
    return {(count.queue, count.status): count for count in jobs.do(count_jobs)}


def age(jobs, job_id, seconds: float) -> None:
    """Make a job older than it is."""
    past = func.now() - timedelta(seconds=seconds)
    with jobs.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(created_at=past, not_before=past))


def test_jobs_are_counted_until_they_are_final(jobs, alice):
    assert counted(jobs) == {}
    for queue, number in (("gpu", 4), ("cpu", 1)):
        for _ in range(number):
            jobs.queue(alice, queue=queue)
    jobs.claimed()
    jobs.do(request_cancel, alice, jobs.claimed().job_id)
    jobs.do(settle_failed, jobs.claimed(), ERROR)
    assert {key: count.jobs for key, count in counted(jobs).items()} == {
        ("cpu", JobStatus.QUEUED): 1,
        ("gpu", JobStatus.QUEUED): 1,
        ("gpu", JobStatus.RUNNING): 1,
        ("gpu", JobStatus.CANCELLING): 1,
    }


def test_the_oldest_has_waited_longest(jobs, alice):
    for seconds in (10, 1000, 100):
        age(jobs, jobs.queue(alice), seconds)
    assert counted(jobs)["gpu", JobStatus.QUEUED].oldest_seconds == pytest.approx(1000, abs=30)


def test_a_job_that_came_back_has_waited_since_then(jobs, alice):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    age(jobs, job_id, 1000)
    jobs.do(release, claim, reason="stopped", child_died=False, max_child_deaths=3)
    age(jobs, job_id, 1000)
    assert counted(jobs)["gpu", JobStatus.QUEUED].oldest_seconds < 500


def test_a_job_that_pauses_does_not_wait_yet(jobs, alice):
    age(jobs, jobs.queue(alice), -100)
    assert counted(jobs)["gpu", JobStatus.QUEUED].oldest_seconds == 0


def test_a_count_gives_up_before_it_is_a_burden(jobs, alice):
    with jobs.sessions.begin() as session:
        count_jobs(session)
        assert session.scalar(text("SHOW statement_timeout")) == "5s"
