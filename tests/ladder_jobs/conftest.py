"""A database of its own for these tests: a sweep looks at every job there is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.claims import Claim, claim_job
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.objects import ObjectStore, upload_key
from ladder_jobs.repository import NewUpload, create_job
from ladder_jobs.settings import Settings
from ladder_jobs.tables import Job, Owner
from ladder_schema.config import resolve_config

T = TypeVar("T")


@pytest.fixture(scope="session")
def database_url(settings: Settings) -> Iterator[str]:
    """An empty database, migrated."""
    server = make_url(settings.database_url.get_secret_value())
    name = f"jobs_{uuid4().hex}"
    admin = connect(server.render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = server.set(database=name).render_as_string(hide_password=False)
    migrate(url)
    yield url
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="session")
def _sessions(database_url: str) -> Iterator[sessionmaker[Session]]:
    engine = connect(database_url)
    yield session_factory(engine)
    engine.dispose()


@pytest.fixture
def sessions(_sessions: sessionmaker[Session]) -> Iterator[sessionmaker[Session]]:
    """Sessions on a database without a row."""
    yield _sessions
    with _sessions.begin() as session:
        session.execute(text("TRUNCATE owners, deletions CASCADE"))


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    store = ObjectStore(settings)
    store.ensure_bucket()
    return store


def new_upload(owner_id: UUID, kind: str) -> NewUpload:
    upload_id = uuid4()
    return NewUpload(
        id=upload_id,
        kind=kind,
        filename=f"{kind}.bin",
        key=upload_key(owner_id, upload_id),
        bytes=3,
        sha256="0" * 64,
    )


@dataclass
class Jobs:
    """Jobs of this test."""

    sessions: sessionmaker[Session]
    new_upload = staticmethod(new_upload)

    def owner(self, name: str) -> UUID:
        with self.sessions.begin() as session:
            owner = Owner(id=uuid4(), name=name)
            session.add(owner)
            return owner.id

    def queue(self, owner_id: UUID, *, queue: str = "gpu", priority: int = 0, **config: object) -> UUID:
        with self.sessions.begin() as session:
            return create_job(
                session,
                owner_id,
                config=resolve_config(config),
                model=new_upload(owner_id, "model"),
                dataset=new_upload(owner_id, "dataset"),
                queue=queue,
                priority=priority,
            ).id

    def claim(self, *, queue: str = "gpu", worker: str = "w1", lease_seconds: float = 60.0) -> Claim | None:
        with self.sessions.begin() as session:
            return claim_job(session, queue=queue, worker=worker, lease_seconds=lease_seconds)

    def claimed(self, **options: object) -> Claim:
        claim = self.claim(**options)
        assert claim is not None
        return claim

    def row(self, job_id: UUID) -> Job:
        with self.sessions() as session:
            return session.get_one(Job, job_id)

    def do(self, function: Callable[..., T], *args: object, **options: object) -> T:
        """Call a function that wants a session in a transaction of its own."""
        with self.sessions.begin() as session:
            return function(session, *args, **options)


@pytest.fixture
def jobs(sessions: sessionmaker[Session]) -> Jobs:
    return Jobs(sessions)


@pytest.fixture
def alice(jobs: Jobs) -> UUID:
    return jobs.owner("alice")
