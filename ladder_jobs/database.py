"""Connections to Postgres, and the migrations that bring its tables up to date."""

import select as polling
from functools import cache
from importlib.resources import as_file, files
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Engine, create_engine, event, make_url, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

# Any constant does, as long as nothing else in the same database takes it.
_MIGRATION_LOCK = 0x1ADDE2
# Shorter than the second after which Postgres looks for deadlocks: a claim that reads a table before it
# writes to it and a migration that waits in between block each other, and the migration is to give up.
_LOCK_TIMEOUT_SECONDS = 0.5
_MIGRATION_TRIES = 120

# A cut network must not leave a worker waiting beyond its lease: a dead peer is noticed within seconds.
_CONNECT_ARGS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# The same for the server, whose own defaults are hours: a worker that is gone, or stands still in the middle
# of a transaction, holds its job's row, and neither a sweep nor a cancel gets past. Shorter than a lease.
_SERVER_OPTIONS = {
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}


def connect(database_url: str) -> Engine:
    """Pool of connections; none is opened before it is needed.

    Args:
        database_url: A Postgres URL; the driver is psycopg whether or not it says so.
    """
    url = make_url(database_url)
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    given = url.query.get("options", "")
    options = " ".join([str(given), *(f"-c {name}={value}" for name, value in _SERVER_OPTIONS.items())])
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=30,
        pool_timeout=5,
        hide_parameters=True,  # errors are logged; what users sent is not
        connect_args={**_CONNECT_ARGS, "options": options},
    )
    event.listen(engine, "checkout", _refuse_if_closed)
    return engine


def _refuse_if_closed(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has closed, as a restart does with all of them.

    An idle server says nothing, so anything to read is its farewell. To look costs nothing, where the pool's
    own ping is three round trips: as many as a claim itself.

    Raises:
        sqlalchemy.exc.DisconnectionError: To the pool, which connects anew.
    """
    descriptor = cast("psycopg.Connection[object]", connection).fileno()
    watch = polling.poll()
    watch.register(descriptor, polling.POLLIN)
    if watch.poll(0):
        raise DisconnectionError("the server has closed the connection")


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions of this engine; objects stay readable after the commit, for the answer made from them."""
    return sessionmaker(engine, expire_on_commit=False)


def be_patient(session: Session) -> None:
    """Let this transaction wait for another server, such as the object store: it holds no row of a job."""
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1h'"))


def ping(session: Session) -> None:
    """Make sure Postgres answers.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It does not.
    """
    session.execute(select(1))


def is_behind(session: Session) -> bool:
    """Whether the tables still have an earlier version's form; a later one's serves this version, too.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Postgres does not answer.
    """
    if session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return True
    return session.scalar(text("SELECT version_num FROM alembic_version")) in _earlier_revisions()


@cache
def _earlier_revisions() -> frozenset[str]:
    with as_file(files("migrations")) as scripts:
        directory = ScriptDirectory(str(scripts))
        known = {script.revision for script in directory.walk_revisions()}
        return frozenset(known - set(directory.get_heads()))


def migrate(database_url: str) -> None:
    """Bring the tables to this version's form; several processes may do so at once, and one does the work.

    Jobs may run meanwhile. A change that waits for a table makes everyone behind it wait, too, so it waits
    shorter than a lease lasts, gives up, lets the others pass, and tries again. So it does where each has
    what the other waits for, which never happens to a migration that changes a single table.

    Raises:
        sqlalchemy.exc.OperationalError: Other transactions never let a table go.
    """
    engine = connect(database_url)
    try:
        for tries_left in reversed(range(_MIGRATION_TRIES)):
            try:
                _upgrade(engine)
            except OperationalError as error:
                if not (isinstance(error.orig, LockNotAvailable | DeadlockDetected) and tries_left):
                    raise
            else:
                return
    finally:
        engine.dispose()


def _upgrade(engine: Engine) -> None:
    with engine.begin() as connection, as_file(files("migrations")) as scripts:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # After the line above, which may well wait for another process that migrates.
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
