"""The one directory under which a stack keeps everything: lock, secrets, ports, logs, data."""

import fcntl
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ladder_local.errors import (
    DataDirectoryForeignError,
    DataDirectoryInUseError,
    DataDirectoryUnreachableError,
    PortTakenError,
)

LOOPBACK = "127.0.0.1"

# Below Linux' default range for outgoing connections, so none of them takes a port between two starts.
_PORTS = range(20_000, 32_768)
_POLL_SECONDS = 0.05


class DataDirectory:
    """A locked data directory.

    Entering takes the lock. The kernel drops it with the last process that holds it, so there is no such
    thing as a stale lock; our children hold it too, so a start after a crash waits for them to be gone.

    Args:
        path: Made when missing. One that exists must be empty or a stack's, and keeps its mode; only an empty
            one that nobody but root may enter is opened, as if root had made it here.
        patience: Seconds to wait for the children of a stack that died.
    """

    def __init__(self, path: Path, *, patience: float = 20.0) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self._patience = patience
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self._take()
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataDirectoryUnreachableError(
                f"cannot write to {self.path}: {error.strerror}; choose another with --data-dir"
            ) from error
        try:
            self._acquire()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    @property
    def lock(self) -> int:
        """File descriptor of the lock, for children to inherit."""
        return self._lock

    def subdirectory(self, name: str, mode: int = 0o700) -> Path:
        """A directory below this one, made when missing."""
        path = self.path / name
        path.mkdir(mode=mode, exist_ok=True)
        return path

    def secret(self, name: str) -> str:
        """A random word of letters, digits, ``-`` and ``_``, the same at every start."""
        return str(self._remembered("secrets.json", name, lambda known: known or secrets.token_urlsafe(24)))

    def port(self, name: str, *, host: str = LOOPBACK, preferred: int | None = None) -> int:
        """A free TCP port, the same at every start unless another program took it meanwhile."""

        def choose(remembered: object) -> int:
            if isinstance(remembered, int) and is_free(remembered, host):
                return remembered
            if preferred is not None and is_free(preferred, host):
                return preferred
            return free_port(host)

        return int(str(self._remembered("ports.json", name, choose)))

    def _take(self) -> None:
        """Make the directory, or make sure that it is ours to use."""
        # An account that a server drops to must pass through on the way to its own directory.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            if self._is_ours():
                return
            if any(self.path.iterdir()):
                raise DataDirectoryForeignError(
                    f"{self.path} holds something else than a stack's data; choose another --data-dir, "
                    "for example a new directory in it"
                ) from None
            status = self.path.stat()
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
                return
        self.path.chmod(mode)

    def _is_ours(self) -> bool:
        return any((self.path / name).is_file() for name in ("lock", "secrets.json"))

    def _remembered(self, file: str, name: str, choose: Callable[[object], object]) -> object:
        path = self.path / file
        known: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
        value = choose(known.get(name))
        if known.get(name) != value:
            write_private(path, json.dumps(known | {name: value}, indent=2) + "\n")
        return value

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._patience
        while not self._try_lock():
            holder = os.pread(self._lock, 32, 0).decode()
            if holder and _is_alive(int(holder)):
                raise DataDirectoryInUseError(
                    f"another stack (process {holder}) runs on {self.path}; "
                    "stop it, or choose another --data-dir"
                )
            if time.monotonic() > deadline:
                raise DataDirectoryInUseError(
                    f"processes of a stack that died still hold {self.path}/lock; "
                    "find them with `fuser` and end them"
                )
            time.sleep(_POLL_SECONDS)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _try_lock(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read; readers see the old or the new, never a part."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def is_free(port: int, host: str) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do it: connections that linger after a stop are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = LOOPBACK) -> int:
    """A random free port.

    Raises:
        PortTakenError: None was found.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if is_free(port, host):
            return port
    raise PortTakenError(f"found no free port on {host} in {_PORTS.start}-{_PORTS.stop - 1}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
