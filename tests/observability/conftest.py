"""The service's processes as they run in production, except that children follow a script."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from ladder_client import Client
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.keys import create_key
from ladder_jobs.settings import Settings
from ladder_local.directory import LOOPBACK
from ladder_local.stack import as_environment

WORKER = Path(__file__).parents[1] / "worker" / "worker_process.py"


class Running:
    """A process, and the lines it has logged."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[dict]:
        """What it has logged so far; the line it is writing is left out."""
        whole, _, _ = self._log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def said(self, event: str) -> list[dict]:
        return [line for line in self.lines() if line["event"] == event]

    def metrics(self) -> str:
        """Ask for its metrics."""
        return httpx.get(f"http://{self.listener()}/metrics").raise_for_status().text

    def listener(self) -> str:
        """Wait until it serves its metrics, and say where."""
        eventually(lambda: self.said("metrics_served"))
        (line,) = self.said("metrics_served")
        return line["address"]


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


class Service:
    """Starts processes on a queue of its own."""

    def __init__(self, settings: Settings, directory: Path, processes: ExitStack) -> None:
        self.settings = settings
        self.queue = f"test-{uuid4().hex[:8]}"
        self.directory = directory
        self.more: dict[str, str] = {}
        self._processes = processes
        self._started = 0

    def start(self, *command: str) -> Running:
        log = self.directory / f"{self._started}.log"
        self._started += 1
        with log.open("wb") as stderr:
            process = subprocess.Popen([sys.executable, *command], env=self.environment(), stderr=stderr)

        def end() -> None:
            process.kill()
            process.wait()
            sys.stdout.write(f"--- {command}\n{log.read_text()}")

        self._processes.callback(end)
        return Running(process, log)

    def environment(self) -> dict[str, str]:
        """What a process finds in its environment."""
        return {
            **os.environ,
            **as_environment(self.settings),
            "LADDER_WORK_DIR": str(self.directory / "work"),
            "LADDER_QUEUE": self.queue,
            "LADDER_METRICS_LISTEN": f"{LOOPBACK}:0",
            "LADDER_SWEEP_SECONDS": "0.2",
            # Not every test has housekeeping, which wakes a worker when a job's pause is over.
            "LADDER_DEATH_PAUSE_SECONDS": "0",
            **self.more,
        }

    def api(self) -> tuple[Running, Client]:
        api = self.start(
            "-m", "uvicorn", "--factory", "api.app:create_app", "--no-access-log", "--port", "0"
        )  # fmt: skip
        eventually(lambda: [line for line in api.lines() if "running on" in line["event"]])
        (line,) = [line for line in api.lines() if "running on" in line["event"]]
        url = next(word for word in line["event"].split() if word.startswith("http"))
        return api, Client(url, self.token())

    def worker(self, behaviour: str) -> Running:
        return self.start(str(WORKER), self.queue, behaviour)

    def housekeeping(self) -> Running:
        return self.start("-m", "worker", "housekeeping")

    def token(self) -> str:
        engine = connect(self.settings.database_url.get_secret_value())
        with session_factory(engine).begin() as session:
            token = create_key(session, f"test-{uuid4()}")
        engine.dispose()
        return token


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    migrate(settings.database_url.get_secret_value())
    directory = Path(tempfile.mkdtemp(prefix="ladder-observed-"))
    directory.chmod(0o711)
    try:
        with ExitStack() as processes:
            yield Service(settings, directory, processes)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and a dataset that get past the API."""
    paths = tmp_path / "model.pt", tmp_path / "data.npz"
    for path in paths:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data", b"content")
    return paths
