"""The tables: the migration makes what the code believes in, and no row can lie about its state."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text, update
from sqlalchemy.exc import IntegrityError

import migrations
from ladder_jobs.claims import Answer, Claim, heartbeat, settle_failed
from ladder_jobs.database import connect, migrate
from ladder_jobs.states import EVENT_OF, TRANSITIONS, IllegalTransitionError, check
from ladder_jobs.tables import Attempt, Base, Job
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import FINAL_STATUSES, JobError, JobStatus


def test_the_migrations_make_the_tables_of_the_code(database_url):
    engine = connect(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        for table in Base.metadata.sorted_tables:
            found = {check["name"] for check in inspect(connection).get_check_constraints(table.name)}
            declared = {c.name for c in table.constraints if c.__visit_name__.endswith("check_constraint")}
            assert found == declared
    engine.dispose()


def test_processes_that_migrate_at_once_do_it_once(settings, database_url):
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA fresh"))
    url = f"{database_url}?options=-csearch_path%3Dfresh"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [url] * 4))
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM fresh.alembic_version")) == 1
        connection.execute(text("DROP SCHEMA fresh CASCADE"))
    engine.dispose()


def go_back(database_url: str, revision: str) -> None:
    """Leave the tables as an earlier version had them."""
    engine = connect(database_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_a_migration_lets_others_pass_and_tries_again(database_url):
    """A long transaction holds the table: whoever queues behind the migration gets through meanwhile."""
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA busy"))
    url = f"{database_url}?options=-csearch_path%3Dbusy"
    migrate(url)
    go_back(url, "0001")
    waits = text("SELECT count(*) FROM pg_locks WHERE relation = 'busy.jobs'::regclass AND NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as holder:
            holder.execute(text("SELECT FROM busy.jobs"))
            migrating = pool.submit(migrate, url)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
                while not other.scalar(waits):
                    assert not migrating.done()
                other.execute(text("UPDATE busy.jobs SET priority = 0"))  # queues behind the migration
            assert not migrating.done()
        migrating.result(timeout=60)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM busy.deletions")) == 0
        connection.execute(text("DROP SCHEMA busy CASCADE"))
    engine.dispose()


def test_workers_go_on_while_the_tables_are_migrated(database_url, jobs, alice):
    """Four claim and renew leases all through it: each job is claimed once, no lease lost, nobody waits."""
    queued = {jobs.queue(alice) for _ in range(120)}
    go_back(database_url, "0002")
    started, migrated = threading.Barrier(5), threading.Event()

    def work(worker: str) -> tuple[list[Claim], float]:
        claims, longest = [], 0.0
        started.wait()
        while not migrated.is_set() or len(claims) < 30:
            began = time.monotonic()
            if len(claims) < 30:
                claims.append(jobs.claimed(worker=worker))
            answers = {jobs.do(heartbeat, claim, lease_seconds=60) for claim in claims[-3:]}
            assert answers == {Answer.GO_ON}
            longest = max(longest, time.monotonic() - began)
        return claims, longest

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, f"w{number}") for number in range(4)]
        try:
            started.wait()
            migrate(database_url)
        finally:
            migrated.set()
        worked = [worker.result(timeout=60) for worker in workers]
    claims = [claim for taken, _ in worked for claim in taken]
    assert len(claims) == 120
    assert {claim.job_id for claim in claims} == queued
    assert max(longest for _, longest in worked) < 5, "a third of a lease"
    error = JobError(code=ErrorCode.INTERNAL, message="Over.", stage=None)
    assert {jobs.do(settle_failed, claim, error) for claim in claims} == {JobStatus.FAILED}


@pytest.mark.parametrize(
    "lie",
    [
        {"status": "running"},
        {"status": "succeeded"},
        {"status": "failed", "finished_at": text("now()")},
        {"status": "cancelled", "finished_at": text("now()")},
        {"status": "paused"},
        {"progress": 1.5},
        {"started_at": text("now()")},
        {"attempt": 1},
        {"error_code": "internal", "error_message": "?"},
        {"cancel_requested_at": text("now()")},
        {"lease_expires_at": text("now()")},
        {"worker": "w"},
        {"finished_at": text("now()")},
    ],
    ids="+".join,
)
def test_a_queued_job_cannot_be_made_to_lie(jobs, alice, sessions, lie):
    job_id = jobs.queue(alice)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(update(Job.__table__).where(Job.id == job_id).values(lie))


def test_a_job_has_one_open_attempt_at_most(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(Attempt(job_id=job_id, number=2, token=alice, worker="w"))
    assert claim.attempt == 1


def test_no_state_follows_a_final_one_and_every_other_has_a_way_out():
    sources = {source for source, _, _ in TRANSITIONS}
    assert sources == set(JobStatus) - FINAL_STATUSES
    assert set(EVENT_OF) == set(JobStatus)


@pytest.mark.parametrize(("source", "target"), list(product(JobStatus, JobStatus)))
def test_the_table_is_what_is_checked(source, target):
    if (source, target) in {(s, t) for s, t, _ in TRANSITIONS}:
        check(source, target)
    else:
        with pytest.raises(IllegalTransitionError):
            check(source, target)
