"""A worker that is ill claims nothing: one job is given back, and none has to pay for it."""

from contextlib import ExitStack, contextmanager

import pytest
import structlog
from sqlalchemy import text

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus
from worker.endings import OtherVersion
from worker.fitness import Fitness


@contextmanager
def store_away(bench, servers):
    servers.stop("seaweedfs")
    try:
        yield
    finally:
        servers.start("seaweedfs")


@contextmanager
def disk_broken(bench, servers):
    """A file stands where the directory of attempts should be."""
    directory = bench.settings.work_dir / "attempts"
    directory.touch()
    bench.configure(work_dir=directory)
    yield
    directory.unlink()


# The work is waited for after the outage has ended.
@pytest.mark.parametrize(
    ("outage", "ailment"), [(store_away, "the object store cannot be reached"), (disk_broken, "the disk of")]
)
def test_an_ill_worker_gives_back_one_job_and_waits_for_its_cure(bench, servers, outage, ailment):
    """However long it lasts, the outage is no job's: a single one would fail the job here."""
    jobs = [bench.submit(), bench.submit()]
    with structlog.testing.capture_logs() as logs, ExitStack() as work, outage(bench, servers):
        work.enter_context(bench.running("succeed", max_outages=1))
        bench.wait_until(lambda: sum(line["event"] == "worker_unfit" for line in logs) > 3)
        assert [len(bench.attempts(job_id)) for job_id in jobs] == [1, 0]
    assert [bench.job(job_id).status for job_id in jobs] == [JobStatus.SUCCEEDED] * 2
    assert [bench.job(job_id).outages for job_id in jobs] == [0, 0]
    first, last = bench.attempts(jobs[0])
    assert (first.outcome, last.outcome) == (Outcome.RELEASED, Outcome.SUCCEEDED)
    assert ailment in first.error


def test_a_disk_with_next_to_nothing_left_is_an_ailment(bench):
    assert Fitness(bench.settings, bench.shutdown).ailment() is None
    bench.configure(min_free_bytes=1 << 62)
    assert "of LADDER_MIN_FREE_BYTES" in Fitness(bench.settings, bench.shutdown).ailment()


def test_a_worker_that_is_told_to_stop_does_not_wait_for_its_cure(bench, servers):
    job_id = bench.submit()
    with store_away(bench, servers), bench.running("succeed", retry_seconds=600.0):
        bench.wait_until(lambda: [a.outcome for a in bench.attempts(job_id)] == [Outcome.RELEASED])
        bench.shutdown.set()


def test_no_job_is_claimed_from_tables_of_an_earlier_version(bench):
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        head = session.scalar(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '0005'"))
    try:
        with pytest.raises(OtherVersion, match="python -m ladder_jobs migrate"):
            bench.runner("succeed").run_queued_jobs(bench.queue)
    finally:
        with bench.sessions.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    assert bench.attempts(job_id) == []
