"""Attempts that the worker, its store or Postgres ends, and not the job."""

import os
import signal
import time

import pytest
from sqlalchemy import event, text

from ladder_jobs.objects import ObjectStore
from ladder_jobs.states import Outcome
from ladder_jobs.tables import Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import ArtifactName, JobStatus
from worker.work import Work


def test_an_outage_that_only_the_job_meets_is_tried_again_and_not_for_ever(bench):
    """The worker finds the store at work whenever it looks for itself."""
    job_id = bench.submit()
    bench.store = ObjectStore(bench.settings.model_copy(update={"s3_endpoint": "127.0.0.1:1"}))
    runner = bench.runner("succeed", max_outages=2)

    def has_ended():
        runner.run_queued_jobs(bench.queue)  # nothing while the job's pause lasts
        return bench.job(job_id).status.is_final

    bench.wait_until(has_ended)
    job = bench.job(job_id)
    assert (job.status, job.outages, job.error_code) == (JobStatus.FAILED, 2, ErrorCode.INTERNAL)
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.RELEASED, Outcome.FAILED]


def test_a_worker_does_not_pause_for_an_outage_that_only_the_job_meets(bench):
    jobs = [bench.submit(), bench.submit()]
    bench.store = ObjectStore(bench.settings.model_copy(update={"s3_endpoint": "127.0.0.1:1"}))
    began = time.monotonic()
    assert bench.runner("succeed", retry_seconds=60.0).run_queued_jobs(bench.queue) == 2
    assert time.monotonic() - began < 60
    assert [bench.job(job_id).outages for job_id in jobs] == [1, 1]


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("what nobody thought of")])
def test_a_worker_that_meets_a_fault_of_its_own_tries_the_job_again(bench, monkeypatch, fault):
    faults = [fault]

    def do_or_break(work, kept):
        if faults:
            raise faults.pop()
        return do(work, kept)

    do = Work.do
    monkeypatch.setattr(Work, "do", do_or_break)
    job_id = bench.submit()
    runner = bench.runner("succeed")

    def has_ended():
        runner.run_queued_jobs(bench.queue)  # nothing while the job's pause lasts
        return bench.job(job_id).status.is_final

    bench.wait_until(has_ended)
    job = bench.job(job_id)
    assert (job.status, job.outages, job.child_deaths) == (JobStatus.SUCCEEDED, 1, 0)


def test_results_stay_where_it_is_not_certain_that_they_are_not_published(bench):
    """The commit has reached Postgres; then the worker has no memory for its answer."""
    job_id = bench.submit()
    faults = [MemoryError()]

    def break_once(session):
        with bench.sessions() as other:
            is_published = other.get_one(Job, job_id).status is JobStatus.SUCCEEDED
        if is_published and faults:
            raise faults.pop()

    event.listen(bench.sessions, "after_commit", break_once)
    try:
        bench.runner("succeed").run_queued_jobs(bench.queue)
    finally:
        event.remove(bench.sessions, "after_commit", break_once)
    job = bench.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert len(job.artifacts) == len(ArtifactName)
    assert all(bench.store.exists(artifact.object_key) for artifact in job.artifacts)


def test_an_end_that_postgres_refuses_to_store_fails_the_job_at_once(bench):
    job_id = bench.submit()
    function = f"refuse_{job_id.hex}"
    with bench.sessions.begin() as session:
        session.execute(
            text(
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION USING ERRCODE = 'untranslatable_character'; END $$"
            )
        )
        session.execute(
            text(
                f"CREATE TRIGGER {function} BEFORE INSERT ON artifacts FOR EACH ROW "
                f"WHEN (NEW.job_id = '{job_id}') EXECUTE FUNCTION {function}()"
            )
        )
    try:
        bench.runner("succeed").run_queued_jobs(bench.queue)
    finally:
        with bench.sessions.begin() as session:
            session.execute(text(f"DROP FUNCTION {function} CASCADE"))
    job = bench.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.INTERNAL)
    assert len(bench.attempts(job_id)) == 1
    assert list(bench.store.list_keys(f"jobs/{job_id}/")) == []


def test_a_restart_of_postgres_disturbs_no_running_job(bench, servers):
    """The child even ends while the database is away: the result waits for it."""
    job_id = bench.submit(model=b"wait")
    with bench.running("succeed_when_allowed"):
        bench.wait_for_stage(job_id)
        (child,) = bench.child_pids(job_id)
        servers.stop("postgres")
        os.kill(child, signal.SIGUSR1)
        bench.wait_until(lambda: len(list(bench.store.list_keys(f"jobs/{job_id}/"))) == len(ArtifactName))
        servers.start("postgres")
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
    assert len(bench.attempts(job_id)) == 1
