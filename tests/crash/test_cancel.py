"""A job is cancelled within five seconds of the wish, whatever it is at, and nothing of it is left.

With the times of a service as it comes: a heartbeat hears of it within a second, the child may take two to
stop by itself, and is killed a second after it was told to end.
"""

import pytest

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus, Stage
from tests.crash.checks import assert_nothing_is_left, outcomes
from tests.crash.test_stages import wait_for_stage
from tests.crash.test_takeover import use_default_times

MAX_SECONDS = 5.0


def assert_cancelled_in_time(bench, job_id, ended):
    """And its attempts ended so."""
    bench.wait_for_status(job_id, JobStatus.CANCELLED)
    job = bench.job(job_id)
    assert (job.finished_at - job.cancel_requested_at).total_seconds() <= MAX_SECONDS
    assert outcomes(bench, job_id) == ended
    assert job.artifacts == []
    assert_nothing_is_left(bench, job_id)


def test_a_job_that_waits_is_cancelled(bench):
    job_id = bench.submit()
    bench.cancel(job_id)
    assert_cancelled_in_time(bench, job_id, [])


@pytest.mark.timeout(600)
def test_a_real_job_is_cancelled_at_every_stage(bench, fleet, digits):
    """The worker goes on to the next job each time."""
    use_default_times(bench)
    fleet.housekeeper(sweep_seconds=0.2)
    worker = fleet.worker()
    for stage in Stage:
        job_id = digits.submit()
        wait_for_stage(bench, job_id, 1, stage)
        bench.cancel(job_id)
        # In the last stage an attempt may be done before it hears of the wish; it is cancelled even so.
        assert_cancelled_in_time(bench, job_id, [Outcome.CANCELLED])
    assert worker.poll() is None


@pytest.mark.parametrize("behaviour", ["sleep_until_told", "ignore_everything"])
def test_a_child_is_cancelled_whether_or_not_it_listens(bench, fleet, behaviour):
    use_default_times(bench)
    fleet.housekeeper(sweep_seconds=0.2)
    fleet.worker(behaviour)
    job_id = bench.submit()
    bench.wait_for_stage(job_id)
    child = bench.child_pid(job_id)
    bench.cancel(job_id)
    bench.cancel(job_id)  # once more, while it is being cancelled
    assert_cancelled_in_time(bench, job_id, [Outcome.CANCELLED])
    assert not bench.is_alive(child)
    bench.cancel(job_id)  # and after: nothing changes
    assert bench.job(job_id).status is JobStatus.CANCELLED


def test_a_job_is_cancelled_while_its_child_starts(bench, fleet):
    """The child has not said a word yet, and reads no orders."""
    use_default_times(bench)
    fleet.housekeeper(sweep_seconds=0.2)
    fleet.worker("say_nothing")
    job_id = bench.submit()
    bench.wait_until(lambda: bench.child_pids(job_id))
    bench.cancel(job_id)
    assert_cancelled_in_time(bench, job_id, [Outcome.CANCELLED])
