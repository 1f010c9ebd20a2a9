"""An object store that takes requests and never answers: nobody who cancels or stops has to wait for it."""

import signal

import pytest

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus
from tests.crash.checks import assert_published_once, outcomes
from tests.crash.test_cancel import assert_cancelled_in_time
from tests.crash.test_takeover import use_default_times

# What the worker is at, by what its child does once it is allowed to, and how much passes before the silence.
MOMENTS = {
    "fetching": (None, 0),
    "storing a checkpoint": ("save_when_told", 0),
    "storing the log": ("tell", 0),
    "storing results": ("succeed_with_large_results", 1 << 20),
}
STOPPED_SECONDS = 25.0


def fall_silent(bench, fleet, cable, moment, **settings):
    """Have a worker wait for a store that is silent from now on.

    Returns:
        The worker and its job.
    """
    behaviour, size = MOMENTS[moment]
    fleet.housekeeper(sweep_seconds=0.2)
    worker = fleet.worker(behaviour or "succeed", s3_endpoint=cable.address, **settings)
    if behaviour is None:
        cable.cut_after(size)
        job_id = bench.submit()
    else:
        job_id = bench.submit()
        bench.wait_for_stage(job_id)
        cable.cut_after(size)
        fleet.let_child_finish(job_id)
    assert cable.cut_reached.wait(60)
    return worker, job_id


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_job_is_cancelled_while_the_store_is_silent(bench, fleet, store_cable, moment):
    use_default_times(bench)
    worker, job_id = fall_silent(bench, fleet, store_cable, moment)
    bench.cancel(job_id)
    assert_cancelled_in_time(bench, job_id, [Outcome.CANCELLED])
    assert worker.poll() is None


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_stops_while_the_store_is_silent(bench, fleet, store_cable, moment, tmp_path):
    """And gives its job back to one that hears the store."""
    worker, job_id = fall_silent(bench, fleet, store_cable, moment, store_grace_seconds=1.0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=STOPPED_SECONDS) == 0
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.RELEASED, Outcome.SUCCEEDED]
