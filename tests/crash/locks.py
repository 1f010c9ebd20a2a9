"""Holding other programs at an exact point, by locks in Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import text

from tests.worker.conftest import Bench

_HOLD_COMMIT = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock({key}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON artifacts DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.job_id = '{job_id}') EXECUTE FUNCTION {name}();
"""


@contextmanager
def held(bench: Bench, statement: str, **parameters: object) -> Iterator[None]:
    """Keep what the statement locks until the block is left."""
    with bench.sessions() as session:
        session.execute(text(statement), parameters)
        yield


@contextmanager
def held_job(bench: Bench, job_id: UUID) -> Iterator[None]:
    """Let nobody write to a job."""
    with held(bench, "SELECT FROM jobs WHERE id = :id FOR UPDATE", id=job_id):
        yield


@contextmanager
def held_publication(bench: Bench, job_id: UUID) -> Iterator[None]:
    """Keep the commit that publishes the job's results from happening; it has reached Postgres by then."""
    name, key = f"hold_{job_id.hex}", job_id.int % (1 << 62)
    with bench.sessions.begin() as session:
        session.execute(text(_HOLD_COMMIT.format(name=name, key=key, job_id=job_id)))
    try:
        with held(bench, "SELECT pg_advisory_xact_lock(:key)", key=key):
            yield
    finally:
        with bench.sessions.begin() as session:
            session.execute(text(f"DROP FUNCTION {name} CASCADE"))


def wait_for_waiting(bench: Bench, count: int = 1, kind: str = "%") -> None:
    """Wait until so many connections wait for a lock (of a kind, e.g. ``advisory``)."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND wait_event LIKE :kind"
    )

    def is_reached() -> bool:
        with bench.sessions() as session:
            return session.scalar(query, {"kind": kind}) >= count

    bench.wait_until(is_reached)
