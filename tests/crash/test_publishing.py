"""Killed between the child's last word and the commit: the worker, or the object store."""

from contextlib import ExitStack

from ladder_jobs.objects import job_prefix
from ladder_jobs.states import Outcome
from ladder_schema.jobs import ArtifactName, JobStatus
from tests.crash.checks import assert_published_once, outcomes
from tests.crash.fleet import killed
from tests.crash.locks import held_job, held_publication, wait_for_waiting


def start_job(bench, fleet, behaviour="succeed_when_allowed", **settings):
    """A job whose child is at work and waits for leave to end."""
    fleet.housekeeper()
    fleet.worker(behaviour, **settings)
    job_id = bench.submit(model=b"wait")
    bench.wait_for_stage(job_id)
    return job_id


def stored(bench, job_id):
    return list(bench.store.list_keys(job_prefix(job_id)))


def test_a_worker_killed_before_its_commit_has_published_nothing(bench, fleet, tmp_path):
    """All results are stored, and the row that the commit needs is in other hands."""
    bench.configure(lease_seconds=4.0)
    job_id = start_job(bench, fleet)
    with held_job(bench, job_id):
        fleet.let_child_finish(job_id)
        bench.wait_until(lambda: len(stored(bench, job_id)) == len(ArtifactName))
        fleet.kill_worker(job_id, with_child=True)
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_a_worker_killed_while_its_commit_happens_has_published(bench, fleet, tmp_path):
    job_id = start_job(bench, fleet)
    with held_publication(bench, job_id):
        fleet.let_child_finish(job_id)
        wait_for_waiting(bench, kind="advisory")
        fleet.kill_worker(job_id, with_child=True)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.SUCCEEDED]


def test_a_worker_killed_while_it_stores_results_is_replaced(bench, fleet, store_cable, tmp_path):
    bench.configure(lease_seconds=4.0)
    job_id = start_job(bench, fleet, "succeed_with_large_results", s3_endpoint=store_cable.address)
    store_cable.cut_after(1 << 20)
    fleet.let_child_finish(job_id)
    assert store_cable.cut_reached.wait(60)
    fleet.kill_worker(job_id, with_child=True)
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_the_object_store_is_killed_while_results_are_stored(bench, fleet, servers, store_cable, tmp_path):
    """It stays away until the worker has given the job up, and the next attempt finds it again."""
    job_id = start_job(bench, fleet, "succeed_with_large_results", s3_endpoint=store_cable.address)
    store_cable.cut_after(1 << 20)
    fleet.let_child_finish(job_id)
    assert store_cable.cut_reached.wait(60)
    with killed(servers, "seaweedfs"):
        store_cable.mend()
        bench.wait_until(lambda: Outcome.RELEASED in outcomes(bench, job_id))
    bench.wait_until(lambda: bench.job(job_id).stage is not None)
    fleet.let_child_finish(job_id)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)


def test_the_object_store_is_killed_while_results_are_published(bench, fleet, servers, tmp_path):
    """Everything was stored before: the commit needs no store, and what was stored is still there."""
    job_id = start_job(bench, fleet)
    with ExitStack() as killing:
        with held_publication(bench, job_id):
            fleet.let_child_finish(job_id)
            wait_for_waiting(bench, kind="advisory")
            killing.enter_context(killed(servers, "seaweedfs"))
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.SUCCEEDED]
