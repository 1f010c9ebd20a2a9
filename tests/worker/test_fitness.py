"""A worker that is ill claims nothing: one job is given back, and none has to pay for it."""

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import event, text

from ladder_jobs.objects import ObjectStore
from ladder_jobs.settings import Settings
from ladder_jobs.states import Outcome
from ladder_local.directory import DataDirectory
from ladder_local.servers.seaweedfs import SeaweedFS
from ladder_local.supervisor import Supervisor
from ladder_schema.jobs import JobStatus
from tests.worker.conftest import SCRIPTED_CHILD
from worker.endings import OtherVersion
from worker.fitness import Fitness
from worker.process import CHILD_COMMAND


def ailment(bench, child="succeed", **tools):
    return Fitness(bench.tools(child, **tools)).ailment(lambda: None)


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


@contextmanager
def threads_used_up(bench, servers):
    """As where a container's processes are limited; others than an attempt's go on."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(("lease", "transfer")):
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


# The work is waited for after the outage has ended.
@pytest.mark.parametrize(
    ("outage", "words"),
    [
        (store_away, "the object store cannot be reached"),
        (disk_broken, "the disk of"),
        (threads_used_up, "no threads left: can't start new thread"),
    ],
)
def test_an_ill_worker_gives_back_one_job_and_waits_for_its_cure(bench, servers, outage, words):
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
    assert words in first.error


def assert_cured_without_cost(bench, jobs, logs, child, cure):
    """The first of two jobs is given back, the second not even begun; a single death would fail either."""
    with bench.running(child, max_child_deaths=1, max_outages=1):
        bench.wait_until(lambda: sum(line["event"] == "worker_unfit" for line in logs) > 3)
        assert [len(bench.attempts(job_id)) for job_id in jobs] == [1, 0]
        cure()
    assert [bench.job(job_id).status for job_id in jobs] == [JobStatus.SUCCEEDED] * 2
    assert [(bench.job(job_id).child_deaths, bench.job(job_id).outages) for job_id in jobs] == [(0, 0)] * 2


def test_a_worker_whose_children_cannot_start_gives_back_one_job(bench, tmp_path):
    """They die before they have seen anything of it."""
    script = tmp_path / "child"
    jobs = [bench.submit(), bench.submit()]
    command = (sys.executable, "-I", str(script), "succeed")
    with structlog.testing.capture_logs() as logs:
        assert_cured_without_cost(bench, jobs, logs, command, lambda: script.symlink_to(SCRIPTED_CHILD))
    first, _ = bench.attempts(jobs[0])
    assert "a process without a job ended unasked (exit code 2)" in first.error
    assert "No such file or directory" in first.error


def test_a_worker_whose_card_fails_gives_back_one_job(bench, tmp_path):
    """The child says that it is there, and that a fault which is not the user's ended its job."""
    away = tmp_path / "away"
    away.touch()
    jobs = [bench.submit(), bench.submit()]
    with structlog.testing.capture_logs() as logs:
        assert_cured_without_cost(bench, jobs, logs, bench.script("lose_the_card", str(away)), away.unlink)
    first, _ = bench.attempts(jobs[0])
    assert "cannot compute on cpu: No card." in first.error


def test_a_real_child_shows_that_it_could_run_a_job(bench):
    assert ailment(bench, CHILD_COMMAND) is None
    assert "cannot compute on nonsense" in ailment(bench, CHILD_COMMAND, device="nonsense")
    assert list(bench.settings.work_dir.iterdir()) == []


def test_a_worker_whose_children_are_another_versions_is_not_ill(bench):
    with pytest.raises(OtherVersion):
        ailment(bench, "speak_a_later_version")


def test_a_job_is_cancelled_while_its_worker_looks_after_itself(bench):
    job_id = bench.submit()
    with bench.running("die_and_never_rehearse"):
        bench.wait_until(lambda: list(bench.settings.work_dir.glob("rehearsal-*/0/output")))
        bench.cancel(job_id)
        bench.wait_until(lambda: bench.job(job_id).status is JobStatus.CANCELLED, seconds=5)


def test_a_pause_runs_from_the_outage_and_has_an_end(bench, monkeypatch):
    """A worker that was idle for a night does not make the morning's first job wait."""
    fitness = Fitness(bench.tools("succeed", retry_seconds=60.0))
    for _ in range(2_000):
        fitness.note_outage("for once")
    began = time.monotonic()
    monkeypatch.setattr("worker.fitness.time.monotonic", lambda: began + 301.0)
    asked = []
    monkeypatch.setattr(bench.shutdown, "wait", asked.append)
    assert fitness.wait()
    assert asked == [0.0]


def test_a_disk_with_next_to_nothing_left_is_an_ailment(bench):
    assert ailment(bench) is None
    bench.configure(min_free_bytes=1 << 62)
    assert "MiB left" in ailment(bench)


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
    assert "the object store" in ailment(bench)


def test_a_worker_that_is_told_to_stop_does_not_wait_for_its_cure(bench, servers):
    job_id = bench.submit()
    with store_away(bench, servers), bench.running("succeed", retry_seconds=600.0):
        bench.wait_until(lambda: [a.outcome for a in bench.attempts(job_id)] == [Outcome.RELEASED])
        bench.shutdown.set()


def test_tables_are_looked_at_once_a_minute(bench):
    for _ in range(3):
        bench.submit()
    looks = []

    def note(_connection, _cursor, statement, *_):
        if "FROM alembic_version" in statement:
            looks.append(statement)

    engine = bench.sessions.kw["bind"]
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert bench.runner("succeed").run_queued_jobs(bench.queue) == 3
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(looks) == 1


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
