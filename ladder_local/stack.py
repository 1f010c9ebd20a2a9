"""The servers, the API and the workers together."""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import httpx
from pydantic import SecretStr

from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.keys import authenticate, ensure_local_key
from ladder_jobs.settings import Settings
from ladder_local.directory import LOOPBACK, is_free, write_private
from ladder_local.errors import PortTakenError
from ladder_local.process import Command
from ladder_local.servers import LocalServers

_DEFAULT_PORT = 8000
_API_READY_SECONDS = 60.0
_WORKER_STOP_SECONDS = 30.0
_WILDCARDS = {"0.0.0.0": LOOPBACK, "::": "[::1]"}  # noqa: S104 - compared with, not listened on


class LocalStack:
    """Everything the service needs, on this machine; a context manager.

    Processes that die are started again. Enter it on a thread that lives until it is left.

    Args:
        data_dir: Where everything is kept; made when missing, and locked.
        host: Address the API listens on.
        port: Port of the API; by default the remembered one, at first 8000 if it is free.
        workers: How many jobs run at a time.

    Attributes:
        settings: How the API and the workers reach the servers.
        api_url: Where the API answers.
        api_key: A key for it.

    Raises:
        LocalStackError: On entering: something did not start; the message says what to do.
    """

    settings: Settings
    api_url: str
    api_key: str

    def __init__(
        self, data_dir: Path, *, host: str = LOOPBACK, port: int | None = None, workers: int = 1
    ) -> None:
        self._servers = LocalServers(data_dir)
        self.directory = self._servers.directory
        self.supervisor = self._servers.supervisor
        self._host = host
        self._port = port
        self._workers = workers
        self._commands: dict[str, Command] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._check_port()
        with ExitStack() as undo:
            undo.enter_context(self._servers)
            self.settings = self._servers.settings
            migrate(self.settings.database_url.get_secret_value())
            self.api_key = self._key()
            # The last to start is the first to stop: nobody is left who asks a server that is gone.
            undo.callback(self._stop)
            self._start()
            self._closing = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start(self) -> None:
        port = self._port or self.directory.port("api", host=self._host, preferred=_DEFAULT_PORT)
        environment = {**os.environ, **as_environment(self.settings)}
        self._commands = {
            command.name: command
            for command in (
                self._api(port, environment),
                self._python("housekeeping", environment, "worker", "housekeeping"),
                *(self._worker(number, environment) for number in range(1, self._workers + 1)),
            )
        }
        for command in self._commands.values():
            self.supervisor.start(command)
        self.api_url = f"http://{_WILDCARDS.get(self._host, self._host)}:{port}"
        self.supervisor.process("api").wait_until(self._probe_api, _API_READY_SECONDS)
        for name in self._commands:
            self.supervisor.watch(name)

    def _stop(self) -> None:
        self.supervisor.stop(self.supervisor.running(self._commands))

    def _probe_api(self) -> None:
        httpx.get(f"{self.api_url}/readyz", timeout=5.0).raise_for_status()

    def _check_port(self) -> None:
        if self._port is not None and not is_free(self._port, self._host):
            raise PortTakenError(
                f"port {self._port} of {self._host} is taken by another program; choose another --port"
            )

    def _key(self) -> str:
        """The API key of this machine's user; a new one if the kept one means nothing to this database."""
        path = self.directory.path / "api-key"
        if path.exists() and _is_known(self.settings, token := path.read_text().strip()):
            return token
        token = ensure_local_key(self.settings)
        write_private(path, token + "\n")
        return token

    def _api(self, port: int, environment: Mapping[str, str]) -> Command:
        where = ("--host", self._host, "--port", str(port))
        return self._python(
            *("api", environment, "uvicorn", "--factory", "api.app:create_app"),
            *(*where, "--timeout-graceful-shutdown", "5", "--no-access-log"),
        )

    def _worker(self, number: int, environment: Mapping[str, str]) -> Command:
        share = max(1, (os.cpu_count() or 1) // self._workers)
        # Threads that spin while they wait for each other are fine on a machine of their own. Here the
        # servers and the user's own programs want the same cores, and spinning makes small models several
        # times slower.
        threads = {"OMP_NUM_THREADS": str(share), "OMP_WAIT_POLICY": "PASSIVE"}
        name = f"worker-{number}"
        command = self._python(name, {**threads, **environment}, "worker", "hardening", "--queue", "gpu")
        # Time to leave a checkpoint and return the job to its queue.
        return replace(command, stop_seconds=_WORKER_STOP_SECONDS)

    def _python(self, name: str, environment: Mapping[str, str], *module: str) -> Command:
        return Command(
            name=name,
            # -P: a directory named like one of ours, wherever the user is, must not be imported instead.
            argv=(sys.executable, "-P", "-m", *module),
            environment=environment,
            directory=self.directory.path,
        )


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings as the environment variables that they are read from."""
    values = {name: value for name, value in settings if value is not None}
    return {
        f"LADDER_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
    }


def _is_known(settings: Settings, token: str) -> bool:
    engine = connect(settings.database_url.get_secret_value())
    try:
        with session_factory(engine)() as session:
            return authenticate(session, token) is not None
    finally:
        engine.dispose()
