"""Workers that are cut off or stand still for longer than their lease, and then come back."""

import signal

import pytest
from sqlalchemy import make_url

from ladder_jobs.objects import attempt_key
from ladder_jobs.states import Outcome
from ladder_schema.jobs import ArtifactName, JobStatus
from tests.crash.cable import Cable
from tests.crash.checks import assert_published_once, outcomes
from tests.crash.locks import held_publication, wait_for_waiting


@pytest.fixture
def cable(settings):
    """The network between a worker and Postgres."""
    url = make_url(settings.database_url.get_secret_value())
    with Cable(f"{url.host}:{url.port}") as cable:
        yield cable


def far_worker(fleet, bench, cable, behaviour):
    """A worker that reaches Postgres over the cable."""
    host, _, port = cable.address.rpartition(":")
    url = make_url(bench.settings.database_url.get_secret_value()).set(host=host, port=int(port))
    bench_url = type(bench.settings.database_url)(url.render_as_string(hide_password=False))
    return fleet.worker(behaviour, database_url=bench_url)


def stored(bench, job_id, attempt):
    return list(bench.store.list_keys(attempt_key(job_id, attempt, "")))


def wait_for_takeover(bench, job_id):
    """Wait until the second attempt's child is at work."""
    bench.wait_until(lambda: bench.job(job_id).attempt == 2)
    bench.wait_for_stage(job_id)


def test_the_child_of_a_worker_that_was_cut_off_is_killed_when_it_hears_so(bench, fleet, cable, tmp_path):
    bench.configure(lease_seconds=4.0)
    fleet.housekeeper()
    far_worker(fleet, bench, cable, "ignore_everything")
    job_id = bench.submit()
    bench.wait_for_stage(job_id)
    child = bench.child_pid(job_id)
    cable.cut()
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert bench.is_alive(child)
    cable.mend()
    bench.wait_until(lambda: not bench.is_alive(child))
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_what_a_worker_publishes_after_a_cut_is_refused(bench, fleet, cable, tmp_path):
    """It finishes while it is cut off from Postgres alone, and stores its results beside the other's."""
    bench.configure(lease_seconds=4.0)
    fleet.housekeeper()
    far_worker(fleet, bench, cable, "succeed_when_allowed")
    job_id = bench.submit(model=b"wait")
    bench.wait_for_stage(job_id)
    cable.cut()
    fleet.worker("succeed_when_allowed")
    wait_for_takeover(bench, job_id)
    fleet.let_child_finish(job_id, 1)
    bench.wait_until(lambda: len(stored(bench, job_id, 1)) == len(ArtifactName))
    cable.mend()
    bench.wait_until(lambda: not stored(bench, job_id, 1))
    assert bench.job(job_id).status is JobStatus.RUNNING
    fleet.let_child_finish(job_id, 2)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_a_publication_whose_answer_is_lost_stays(bench, fleet, cable, tmp_path):
    """Postgres commits, the connection breaks before it says so: the worker may not delete what it stored."""
    fleet.housekeeper()
    worker = far_worker(fleet, bench, cable, "succeed_when_allowed")
    job_id = bench.submit(model=b"wait")
    bench.wait_for_stage(job_id)
    with held_publication(bench, job_id):
        fleet.let_child_finish(job_id, 1)
        wait_for_waiting(bench, kind="advisory")
        cable.cut()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    cable.sever()
    cable.mend()
    bench.wait_until(lambda: "lease_lost" in fleet.log(worker))
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.SUCCEEDED]


@pytest.mark.parametrize("first_ends", ["before", "after"])
def test_a_stalled_worker_comes_back_too_late(bench, fleet, tmp_path, first_ends):
    """Its child's results lie on its disk; the other worker is done before or after it comes back."""
    bench.configure(lease_seconds=4.0)
    fleet.housekeeper()
    worker = fleet.worker("succeed_when_allowed")
    job_id = bench.submit(model=b"wait")
    bench.wait_for_stage(job_id)
    worker.send_signal(signal.SIGSTOP)
    fleet.let_child_finish(job_id, 1)
    bench.wait_for_results(job_id)
    fleet.worker("succeed_when_allowed")
    wait_for_takeover(bench, job_id)
    if first_ends == "before":
        fleet.let_child_finish(job_id, 2)
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    worker.send_signal(signal.SIGCONT)
    bench.wait_until(lambda: "lease_lost" in fleet.log(worker))
    if first_ends == "after":
        fleet.let_child_finish(job_id, 2)
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]
