"""Workers and housekeepers as processes of their own, to be killed, stopped and replaced."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from ladder_local.servers import LocalServers
from tests.worker import conftest

WORKER = Path(conftest.__file__).with_name("worker_process.py")


@contextmanager
def killed(servers: LocalServers, name: str) -> Iterator[None]:
    """SIGKILL a server with all its processes, and start it again when the block is left."""
    os.killpg(servers.process(name).pid, signal.SIGKILL)
    servers.stop(name)
    try:
        yield
    finally:
        servers.start(name)


class Fleet:
    """Processes of one bench; those that still run at the end are killed, and all logs shown.

    Args:
        bench: Its settings and queue are theirs.
        logs: Directory of their logs.
    """

    def __init__(self, bench: conftest.Bench, logs: Path) -> None:
        self._bench = bench
        self._logs = logs
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def worker(
        self,
        behaviour: str | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> subprocess.Popen[bytes]:
        """Start a worker whose children follow a script, or harden models if there is none."""
        words = [] if behaviour is None else [behaviour]
        return self._start(str(WORKER), self._bench.queue, *words, environment=environment, **settings)

    def housekeeper(
        self, *, environment: Mapping[str, str] | None = None, **settings: object
    ) -> subprocess.Popen[bytes]:
        """Start a sweeper, which also wakes the workers."""
        return self._start("-m", "worker", "housekeeping", environment=environment, **settings)

    def api(self, port: int, **settings: object) -> subprocess.Popen[bytes]:
        """Start the API."""
        where = ("--host", "127.0.0.1", "--port", str(port))
        command = ("-m", "uvicorn", "--factory", "api.app:create_app", *where)
        return self._start(*command, environment=None, **settings)

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """What a process wrote so far."""
        return next(log for started, log in self._started if started is process).read_text()

    def worker_of(self, job_id: UUID) -> int:
        """Process id of the worker that holds the job."""
        name = self._bench.job(job_id).worker
        assert name is not None, "nobody holds the job"
        return int(name.rpartition("@")[0].rpartition("-")[2])

    def kill_worker(self, job_id: UUID, *, with_child: bool) -> None:
        """SIGKILL the worker that holds the job, alone or together with its child."""
        worker = self.worker_of(job_id)
        os.kill(worker, signal.SIGSTOP)  # neither end is to see the other's
        if with_child:
            for process in self._bench.child_pids(job_id):
                with suppress(ProcessLookupError):  # one that dies with another
                    os.kill(process, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    def let_child_finish(self, job_id: UUID, attempt: int | None = None) -> None:
        """Allow the scripted child of an attempt, by default of the only one, to end that waits for leave."""
        os.kill(self._bench.child_pid(job_id, attempt), signal.SIGUSR1)

    def close(self) -> None:
        """Kill what still runs, and show what all of them said."""
        for process, _ in self._started:
            process.kill()
        for process, log in self._started:
            process.wait()
            sys.stdout.write(f"--- {process.args}\n{log.read_text()}")

    def _start(
        self, *command: str, environment: Mapping[str, str] | None, **settings: object
    ) -> subprocess.Popen[bytes]:
        changed = self._bench.settings.model_copy(update=settings)
        found = dataclasses.replace(self._bench, settings=changed).environment()
        log = self._logs / f"process-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command],
                env={**found, "OMP_NUM_THREADS": "1", **(environment or {})},
                stdout=output,
                stderr=output,
            )
        self._started.append((process, log))
        return process
