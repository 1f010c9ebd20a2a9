"""A worker that is ill claims nothing: one job is given back, and none has to pay for it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import text

from ladder_jobs.objects import ObjectStore
from ladder_jobs.settings import Settings
from ladder_jobs.states import Outcome
from ladder_local.directory import DataDirectory
from ladder_local.servers.seaweedfs import SeaweedFS
from ladder_local.supervisor import Supervisor
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


@pytest.fixture
def store_without_volumes(settings) -> Iterator[Settings]:
    """A SeaweedFS whose volume server is away: it answers, and keeps names, but no contents."""
    path = Path(tempfile.mkdtemp(prefix="ladder-volumes-"))
    try:
        with DataDirectory(path) as directory, Supervisor(directory) as supervisor:
            server = SeaweedFS(directory, settings.s3_bucket)
            command = server.prepare()
            process = supervisor.start(replace(command, argv=(*command.argv, "-volume=false")))
            given = {"s3_endpoint": server.endpoint, "s3_secret_key": SecretStr(server.secret_key)}
            without = settings.model_copy(update=given)
            process.wait_until(ObjectStore(without).ensure_bucket, server.ready_seconds)
            process.wait_until(ObjectStore(without).now, server.ready_seconds)
            yield without
            server.clean_up()
    finally:
        shutil.rmtree(path)


def test_a_store_that_takes_names_and_no_contents_is_an_ailment(bench, store_without_volumes):
    bench.configure(
        s3_endpoint=store_without_volumes.s3_endpoint, s3_secret_key=store_without_volumes.s3_secret_key
    )
    assert "the object store" in Fitness(bench.settings, bench.shutdown).ailment()


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
