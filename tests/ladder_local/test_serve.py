"""``ladder serve`` as its user meets it: starts, survives, refuses to share, and leaves nothing behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import torch

from ladder_client import Client, UnauthorizedError
from ladder_local.directory import LOOPBACK, is_free
from ladder_schema.jobs import ArtifactName, JobStatus, JobView, Stage
from tests.ladder_local.conftest import eventually

READY_SECONDS = 120.0
METRICS_PORT = next(
    port
    for port in range(20_000, 30_000, 10)
    if all(is_free(beside, LOOPBACK) for beside in range(port, port + 3))
)
REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "preset": "quick",
    "threat_model": {"epsilon": 0.1},
    "evaluation": {"max_samples": 100, "pgd_steps": 5},
}


class Serving:
    """A ``ladder serve`` in a process of its own, and what it printed."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, output: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def said(self, name: str) -> str:
        found = re.search(rf"export {name}=(\S+)", self.output)
        assert found, self.output
        return found.group(1)

    @property
    def client(self) -> Client:
        return Client(self.said("LADDER_URL"), self.said("LADDER_API_KEY"))


@contextmanager
def serving(data_dir: Path, **environment: str) -> Iterator[Serving]:
    output = data_dir.with_suffix(".out")
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ladder_client", "serve", "--data-dir", data_dir],
            # 8 x 8 images: threads cost more than they bring
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    running = Serving(process, data_dir, output)
    try:
        eventually(
            lambda: process.poll() is not None or "Ctrl-C stops everything" in running.output, READY_SECONDS
        )
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        output.unlink()


def descendants(ancestor: int) -> dict[int, str]:
    """Process id and start time, which together name a process for good, of everything below one."""
    parents: dict[int, int] = {}
    started: dict[int, str] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(directory.name)] = int(fields[1])
        started[int(directory.name)] = fields[19]
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: started[pid] for pid in found - {ancestor}}


def alive(processes: dict[int, str]) -> set[int]:
    left = set()
    for pid, start in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z" and fields[19] == start:
            left.add(pid)
    return left


@pytest.fixture(scope="module")
def stack() -> Iterator[Serving]:
    """One stack for all tests that leave it as they found it."""
    directory = Path(tempfile.mkdtemp(prefix="ladder-tests-"))
    with serving(directory, LADDER_METRICS_LISTEN=f"{LOOPBACK}:{METRICS_PORT}") as running:
        yield running
    shutil.rmtree(directory)


def test_stop_start_kill_start(tmp_path_for_servers: Path) -> None:
    with serving(tmp_path_for_servers) as first:
        key, url = first.said("LADDER_API_KEY"), first.said("LADDER_URL")
        kept = tmp_path_for_servers / "api-key"
        assert kept.read_text().strip() == key
        assert kept.stat().st_mode & 0o077 == 0
        processes = descendants(first.process.pid)
        assert len(processes) > 6
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
        assert alive(processes) == set()
    with serving(tmp_path_for_servers) as second:
        assert (second.said("LADDER_API_KEY"), second.said("LADDER_URL")) == (key, url)
        processes = descendants(second.process.pid)
        second.process.kill()
        eventually(lambda: alive(processes) == set())
    with serving(tmp_path_for_servers) as third, third.client as client:
        assert third.said("LADDER_API_KEY") == key
        assert [*client.list()] == []


def test_one_data_directory_is_one_stack(stack: Serving) -> None:
    second = ladder("serve", "--data-dir", stack.data_dir)
    assert second.returncode == 1
    assert f"another stack (process {stack.process.pid}) runs on {stack.data_dir}" in second.stdout
    assert "Traceback" not in second.stdout + second.stderr


def test_a_port_in_use_is_named(tmp_path_for_servers: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = ladder("serve", "--data-dir", tmp_path_for_servers, "--port", str(port))
    assert answer.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in answer.stdout


def test_a_key_is_asked_for(stack: Serving) -> None:
    with Client(stack.said("LADDER_URL"), "wrong") as stranger, pytest.raises(UnauthorizedError):
        stranger.get(UUID(int=0))


def test_each_process_shows_its_metrics_on_a_port_of_its_own(stack: Serving) -> None:
    for place, name in enumerate(("http_requests", "sweeps", "attempts")):
        url = f"http://{LOOPBACK}:{METRICS_PORT + place}"
        eventually(lambda url=url, name=name: f"ladder_{name}" in httpx.get(f"{url}/metrics").text)
        assert httpx.get(f"{url}/healthz").json() == {"stuck": []}


def test_a_job_and_its_client_outlive_the_api(stack: Serving, tmp_path: Path) -> None:
    """The digits example, hardened while the API is killed; what comes out opens without us.

    Whoever follows its log meanwhile misses nothing and reads nothing twice.
    """
    subprocess.run([sys.executable, REPOSITORY / "examples/digits.py", tmp_path], check=True)
    with stack.client as client:
        job = client.submit(tmp_path / "digits.pt", tmp_path / "digits.npz", SMALL)
        killed: list[int] = []

        def kill_once_it_runs(seen: JobView) -> None:
            if seen.status is JobStatus.RUNNING and not killed:
                killed.append(api_of(stack))
                os.kill(killed[0], signal.SIGKILL)

        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(lambda: "".join(client.logs(job.id, follow=True)))
            done = client.wait(job.id, on_update=kill_once_it_runs)
            log = following.result(timeout=60)
        assert log == "".join(client.logs(job.id))
        stages = re.findall(r"^seconds=\d+\.\d stage=(\w+)$", log, re.MULTILINE)
        assert stages == list(Stage)
        assert log.endswith(" done\n")
        assert killed
        assert api_of(stack) not in killed
        files = client.download_all(done.id, tmp_path / "results")
    assert set(files) == set(ArtifactName)
    hardened = torch.jit.load(files[ArtifactName.MODEL])
    assert hardened(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def ladder(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ladder_client", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def api_of(stack: Serving) -> int:
    [pid] = [
        pid
        for pid in descendants(stack.process.pid)
        if "api.app:create_app" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    return pid
