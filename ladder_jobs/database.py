"""Connections to Postgres, and the migrations that bring its tables up to date."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from psycopg.errors import LockNotAvailable
from sqlalchemy import Engine, create_engine, make_url, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

# Any constant does, as long as nothing else in the same database takes it.
_MIGRATION_LOCK = 0x1ADDE2
_LOCK_TIMEOUT_SECONDS = 2
_MIGRATION_TRIES = 30

# A cut network must not leave a worker waiting beyond its lease: a dead peer is noticed within seconds.
_CONNECT_ARGS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connect(database_url: str) -> Engine:
    """Pool of connections; none is opened before it is needed.

    Args:
        database_url: A Postgres URL; the driver is psycopg whether or not it says so.
    """
    url = make_url(database_url)
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    options = f"{url.query.get('options', '')} -c timezone=UTC"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=30,
        pool_timeout=5,
        hide_parameters=True,  # errors are logged; what users sent is not
        connect_args={**_CONNECT_ARGS, "options": options},
    )


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions of this engine; objects stay readable after the commit, for the answer made from them."""
    return sessionmaker(engine, expire_on_commit=False)


def ping(session: Session) -> None:
    """Make sure Postgres answers.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It does not.
    """
    session.execute(select(1))


def migrate(database_url: str, *, revision: str = "head") -> None:
    """Bring the tables to this version's form; several processes may do so at once, and one does the work.

    Jobs may run meanwhile. A change that waits for a table makes everyone behind it wait, too, so it waits
    shorter than a lease lasts, gives up, lets the others pass, and tries again.

    Args:
        database_url: As for `connect`.
        revision: How far; by default all the way.

    Raises:
        sqlalchemy.exc.OperationalError: Other transactions never let a table go.
    """
    engine = connect(database_url)
    try:
        for tries_left in reversed(range(_MIGRATION_TRIES)):
            try:
                _upgrade(engine, revision)
            except OperationalError as error:
                if not (isinstance(error.orig, LockNotAvailable) and tries_left):
                    raise
            else:
                return
    finally:
        engine.dispose()


def _upgrade(engine: Engine, revision: str) -> None:
    with engine.begin() as connection, as_file(files("migrations")) as scripts:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # After the line above, which may well wait for another process that migrates.
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
