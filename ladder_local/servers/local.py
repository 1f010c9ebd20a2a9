"""The three servers together, and the settings that reach them."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import SecretStr

from ladder_jobs.settings import Settings
from ladder_local.directory import DataDirectory
from ladder_local.process import Command, Process
from ladder_local.servers.postgres import Postgres
from ladder_local.servers.seaweedfs import SeaweedFS
from ladder_local.servers.valkey import Valkey
from ladder_local.supervisor import Supervisor


class Server(Protocol):
    """A server that can be started here."""

    name: str
    ready_seconds: float

    def prepare(self) -> Command:
        """Make what it needs on disk, and say what to run."""

    def probe(self) -> None:
        """Raise unless it is ready to be used."""

    def clean_up(self) -> None:
        """Remove what it leaves outside the data directory."""


class LocalServers:
    """Runs the servers that the environment names no replacement for; a context manager.

    Enter it on a thread that lives until it is left. A server that dies is started again.

    Args:
        data_dir: Where everything is kept; made when missing, and locked.
        durable: Whether the database must survive a power cut; tests are faster without.

    Raises:
        LocalStackError: On entering: the directory cannot be used, or a server did not start.
        pydantic.ValidationError: On entering: the environment's settings are wrong, or an object store is
            named without its keys.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.directory = DataDirectory(data_dir)
        self.supervisor = Supervisor(self.directory)
        self._durable = durable
        self._servers: dict[str, Server] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.directory)
            given = self._choose()
            undo.callback(self._clean_up)
            undo.enter_context(self.supervisor)
            # SeaweedFS first, which takes longest to be ready; Postgres last, which prepares longest.
            for server in self._servers.values():
                self.supervisor.start(server.prepare())
            self.settings = Settings(**given())
            for server in self._servers.values():
                self._finish_start(server)
            self._closing = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def process(self, name: str) -> Process:
        """The running process of ``postgres``, ``valkey`` or ``seaweedfs``."""
        return self.supervisor.process(name)

    def stop(self, name: str) -> None:
        """Stop one server, and leave it stopped."""
        self.supervisor.stop([name])

    def start(self, name: str) -> None:
        """Start one server again after :meth:`stop`, on its old port, and wait until it is ready."""
        server = self._servers[name]
        self.supervisor.start(server.prepare())
        self._finish_start(server)

    def _finish_start(self, server: Server) -> None:
        self.supervisor.process(server.name).wait_until(server.probe, server.ready_seconds)
        self.supervisor.watch(server.name)

    def _choose(self) -> "_Given":
        """Pick the servers to start; the result says, once they are prepared, how to reach them."""
        bucket = os.environ.get("LADDER_S3_BUCKET") or str(Settings.model_fields["s3_bucket"].default)
        store = None if os.environ.get("LADDER_S3_ENDPOINT") else SeaweedFS(self.directory, bucket)
        broker = None if os.environ.get("LADDER_BROKER_URL") else Valkey(self.directory)
        database = (
            None if os.environ.get("LADDER_DATABASE_URL") else Postgres(self.directory, durable=self._durable)
        )
        chosen: tuple[Server | None, ...] = (store, broker, database)
        self._servers = {server.name: server for server in chosen if server}
        return _Given(self.directory, store, broker, database)

    def _clean_up(self) -> None:
        for server in self._servers.values():
            server.clean_up()


class _Given:
    """The settings that follow from the servers started here; all others come from the environment."""

    def __init__(
        self,
        directory: DataDirectory,
        store: SeaweedFS | None,
        broker: Valkey | None,
        database: Postgres | None,
    ) -> None:
        self._directory = directory
        self._store = store
        self._broker = broker
        self._database = database

    def __call__(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if not os.environ.get("LADDER_WORK_DIR"):
            given["work_dir"] = self._directory.path / "work"
        if self._store:
            given |= {
                "s3_endpoint": self._store.endpoint,
                "s3_access_key": SecretStr(self._store.access_key),
                "s3_secret_key": SecretStr(self._store.secret_key),
                "s3_secure": False,
                "s3_region": None,
            }
        if self._broker:
            given["broker_url"] = SecretStr(self._broker.url)
        if self._database:
            given["database_url"] = SecretStr(self._database.url)
        return given
