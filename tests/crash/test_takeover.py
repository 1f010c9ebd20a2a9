"""How long a job stands still when its worker is killed, with the settings as they come."""

from sqlalchemy import func, select

from ladder_jobs.states import EventKind
from ladder_schema.jobs import JobStatus, Stage
from tests.crash.checks import assert_published_once
from tests.crash.test_stages import wait_for_stage
from worker.settings import WorkerSettings

MAX_SECONDS = 30.0
TIMES = ("lease_seconds", "heartbeat_seconds", "sweep_seconds", "stop_grace_seconds", "term_grace_seconds")


def use_default_times(bench):
    bench.configure(**{name: WorkerSettings.model_fields[name].default for name in TIMES})


def now(bench):
    with bench.sessions() as session:
        return session.scalar(select(func.now()))


def test_another_worker_goes_on_within_30_seconds(bench, fleet, digits, tmp_path):
    """By Postgres' clock: from the kill until the next attempt's child is at work on its first stage."""
    use_default_times(bench)
    fleet.housekeeper()
    fleet.worker()
    fleet.worker()
    job_id = digits.submit()
    wait_for_stage(bench, job_id, 1, Stage.GENERATOR)
    killed_at = now(bench)
    fleet.kill_worker(job_id, with_child=True)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_published_once(bench, job_id, tmp_path)
    lost, succeeded = bench.attempts(job_id)
    assert lost.worker != succeeded.worker
    stages = [e.at for e in bench.events(job_id) if (e.kind, e.attempt) == (EventKind.STAGE, 2)]
    seconds = (min(stages) - killed_at).total_seconds()
    assert seconds <= MAX_SECONDS
