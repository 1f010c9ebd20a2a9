"""Keeps the processes of a stack running, and ends them all."""

import contextlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog

from ladder_local.directory import DataDirectory
from ladder_local.process import Command, Process

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.1
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 30.0
# A process that ran this long before it died starts again as if it had never failed.
_STEADY_SECONDS = 60.0


@dataclass
class _Watched:
    process: Process
    deaths: int = 0
    restart_at: float | None = field(default=None)
    failures: int = 0
    not_before: float = 0.0


class Supervisor:
    """Starts processes, starts those again that end unasked, and stops them.

    Enter and leave it on the thread that starts the processes, which must live as long as they do.
    """

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._processes: dict[str, Process] = {}
        self._watched: dict[str, _Watched] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The thread last: the processes that it started again live no longer than it does.
        try:
            self.stop(reversed([*self._processes]))
        finally:
            self._ending.set()
            self._thread.join()

    def start(self, command: Command) -> Process:
        """Start a process. It is not started again when it ends, until :meth:`watch` is called."""
        with self._guard:
            process = Process(command, self._directory.logs, self._directory.lock)
            self._processes[command.name] = process
        return process

    def watch(self, name: str) -> None:
        """From now on, start the process again whenever it ends."""
        with self._guard:
            self._watched[name] = _Watched(self._processes[name])

    def process(self, name: str) -> Process:
        """The process that runs under this name now."""
        with self._guard:
            return self._processes[name]

    def running(self, names: Iterable[str]) -> list[str]:
        """Those of the names under which a process was started and not stopped."""
        with self._guard:
            return [name for name in names if name in self._processes]

    def stop(self, names: Iterable[str]) -> None:
        """Stop these processes, all at once, and return when they have ended."""
        with self._guard:
            stopping = [self._processes.pop(name) for name in list(names)]
            for process in stopping:
                self._watched.pop(process.command.name, None)
        for process in stopping:
            process.ask_to_stop()
        for process in stopping:
            process.stop()

    def _look(self) -> None:
        while not self._ending.wait(_LOOK_SECONDS):
            with self._guard:
                for name, watched in self._watched.items():
                    if time.monotonic() >= watched.not_before:
                        self._look_after(name, watched)

    def _look_after(self, name: str, watched: _Watched) -> None:
        """Tend a process; where this machine lacks room or descriptors for it, try again later."""
        try:
            self._tend(name, watched)
            watched.failures = 0
        except OSError as error:
            delay = _delay(watched.failures)
            watched.failures += 1
            watched.not_before = time.monotonic() + delay
            with contextlib.suppress(OSError):  # what the log is written to may have no room either
                _log.warning("cannot look after process", process=name, error=str(error), delay=delay)

    def _tend(self, name: str, watched: _Watched) -> None:
        watched.process.rotate_log()
        status = watched.process.exit_status
        if status is None:
            return
        now = time.monotonic()
        if watched.restart_at is None:
            ran = now - watched.process.started_at
            watched.deaths = 0 if ran > _STEADY_SECONDS else watched.deaths
            delay = _delay(watched.deaths)
            watched.deaths += 1
            watched.restart_at = now + delay
            _log.warning("process ended, starting it again", process=name, status=status, delay=delay)
        elif now >= watched.restart_at:
            # What it left behind must not hold its ports or do its work twice.
            watched.process.kill()
            watched.process = Process(watched.process.command, self._directory.logs, self._directory.lock)
            self._processes[name] = watched.process
            watched.restart_at = None


def _delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, up to a limit."""
    return min(_FIRST_DELAY * 2.0 ** min(failures, 30), _LONGEST_DELAY)
