"""The broker and the database, killed while jobs wait and run."""

import pytest
import redis

from ladder_jobs.states import Outcome
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeups_waiting
from ladder_schema.jobs import ArtifactName, JobStatus
from tests.crash.checks import assert_published_once, outcomes
from tests.crash.fleet import killed


@pytest.fixture
def app(bench):
    return celery_app(bench.settings)


def test_the_broker_is_killed_while_jobs_wait_and_run(bench, app, fleet, servers, tmp_path):
    """It keeps nothing on its disk, so all its messages are gone when it is back."""
    fleet.housekeeper()
    fleet.worker("succeed_when_allowed")
    running, waiting = bench.submit(model=b"wait"), bench.submit()
    bench.wait_for_stage(running)
    bench.wait_until(lambda: wakeups_waiting(app, bench.queue))
    with killed(servers, "valkey"):
        posted = bench.submit()
        assert not send_wakeup(app, bench.queue)
        fleet.let_child_finish(running)
        for job_id in (running, waiting, posted):
            bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
        late = bench.submit()
    bench.wait_for_status(late, JobStatus.SUCCEEDED)
    for job_id in (running, waiting, posted, late):
        assert_published_once(bench, job_id, tmp_path)
        assert len(bench.attempts(job_id)) == 1


def test_the_broker_is_emptied_while_jobs_wait_and_run(bench, app, fleet, settings, tmp_path):
    """The wake-up of the job that waits is thrown away while no worker is free to take it."""
    fleet.housekeeper()
    worker = fleet.worker("succeed_when_allowed")
    running, waiting = bench.submit(model=b"wait"), bench.submit()
    bench.wait_for_stage(running)
    bench.wait_until(lambda: wakeups_waiting(app, bench.queue))
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as broker:
        broker.flushall()
    fleet.worker("succeed")
    bench.wait_for_status(waiting, JobStatus.SUCCEEDED)
    assert bench.job(running).status is JobStatus.RUNNING
    fleet.let_child_finish(running)
    bench.wait_for_status(running, JobStatus.SUCCEEDED)
    assert worker.poll() is None
    for job_id in (running, waiting):
        assert_published_once(bench, job_id, tmp_path)
        assert len(bench.attempts(job_id)) == 1


def test_postgres_is_killed_while_jobs_wait_and_run(bench, fleet, servers, tmp_path):
    """A child even ends meanwhile: its results are stored, and published by the same attempt afterwards."""
    sweeper = fleet.housekeeper()
    worker = fleet.worker("succeed_when_allowed")
    running, waiting = bench.submit(model=b"wait"), bench.submit()
    bench.wait_for_stage(running)
    prefix = f"jobs/{running}/"
    with killed(servers, "postgres"):
        fleet.let_child_finish(running)
        bench.wait_until(lambda: len(list(bench.store.list_keys(prefix))) == len(ArtifactName))
    for job_id in (running, waiting):
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
        assert_published_once(bench, job_id, tmp_path)
        assert outcomes(bench, job_id) == [Outcome.SUCCEEDED]
    assert (sweeper.poll(), worker.poll()) == (None, None)
