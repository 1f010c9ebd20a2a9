"""More than one at once: workers, wake-ups, sweepers; each job is run once, each loss counted once."""

from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeups_waiting
from ladder_schema.jobs import JobStatus
from tests.crash.checks import assert_published_once, outcomes
from tests.crash.locks import held, wait_for_waiting


def test_two_workers_race_for_one_job(bench, fleet, tmp_path):
    """Both are inside the claim when the table is let go."""
    app = celery_app(bench.settings)
    workers = [fleet.worker("succeed") for _ in range(2)]
    for worker in workers:
        bench.wait_until(lambda worker=worker: "ready." in fleet.log(worker))
    job_id = bench.submit()
    with held(bench, "LOCK TABLE jobs IN EXCLUSIVE MODE"):
        for _ in workers:
            assert send_wakeup(app, bench.queue)
        wait_for_waiting(bench, 2)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    bench.wait_until(lambda: not wakeups_waiting(app, bench.queue))
    assert_published_once(bench, job_id, tmp_path)
    assert len(bench.attempts(job_id)) == 1


def test_duplicate_wake_ups_are_harmless(bench, fleet, tmp_path):
    app = celery_app(bench.settings)
    fleet.worker("succeed")
    fleet.worker("succeed")
    jobs = [bench.submit() for _ in range(4)]
    for _ in range(10):
        assert send_wakeup(app, bench.queue)
    for job_id in jobs:
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    bench.wait_until(lambda: not wakeups_waiting(app, bench.queue))
    for job_id in jobs:
        assert_published_once(bench, job_id, tmp_path)
        assert len(bench.attempts(job_id)) == 1


def test_a_sweeper_killed_in_mid_sweep_has_swept_nothing(bench, fleet, tmp_path):
    """It waits to write into the history that it has ended the attempt; the next one does so, once."""
    job_id = bench.submit()
    bench.claim_and_vanish()
    fleet.worker("succeed")
    with held(bench, "LOCK TABLE events IN SHARE MODE"):
        sweeper = fleet.housekeeper()
        wait_for_waiting(bench)
        sweeper.kill()
        sweeper.wait()
        assert bench.job(job_id).status is JobStatus.RUNNING
        other = fleet.housekeeper()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert other.poll() is None
    assert_published_once(bench, job_id, tmp_path)
    assert bench.job(job_id).worker_losses == 1
    assert [event.kind for event in bench.events(job_id)].count(EventKind.REQUEUED) == 1
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_a_job_goes_on_without_a_sweeper_and_its_loss_is_mended_by_the_next(bench, fleet, tmp_path):
    bench.configure(lease_seconds=4.0)
    sweeper = fleet.housekeeper()
    fleet.worker("ignore_everything")
    job_id = bench.submit()
    bench.wait_for_stage(job_id)
    sweeper.kill()
    fleet.kill_worker(job_id, with_child=True)
    fleet.worker("succeed")
    fleet.housekeeper()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]
