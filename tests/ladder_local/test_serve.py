"""``ladder serve`` as its user meets it: starts, survives, refuses to share, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ladder_client import Client, UnauthorizedError

pytestmark = pytest.mark.timeout(240)
READY_SECONDS = 120.0


class Serving:
    """A ``ladder serve`` in a process of its own, and what it printed."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
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
def serving(data_dir: Path, eventually: Callable[..., None]) -> Iterator[Serving]:
    output = data_dir.with_suffix(".out")
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ladder_client", "serve", "--data-dir", data_dir],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    running = Serving(process, output)
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


def test_a_served_stack_takes_jobs_and_stops_without_a_trace(
    tmp_path_for_servers: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with serving(tmp_path_for_servers, eventually) as first:
        junk = tmp_path / "junk"
        junk.write_bytes(b"this is no model")
        with first.client as client:
            assert [*client.list()] == []
        with Client(first.said("LADDER_URL"), "wrong") as stranger, pytest.raises(UnauthorizedError):
            stranger.list().__next__()
        key_file = tmp_path_for_servers / "api-key"
        assert key_file.read_text().strip() == first.said("LADDER_API_KEY")
        assert key_file.stat().st_mode & 0o077 == 0
        processes = descendants(first.process.pid)
        assert len(processes) > 6
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
        assert alive(processes) == set()
        key, url = first.said("LADDER_API_KEY"), first.said("LADDER_URL")
    with serving(tmp_path_for_servers, eventually) as second:
        assert (second.said("LADDER_API_KEY"), second.said("LADDER_URL")) == (key, url)


def test_a_killed_supervisor_leaves_no_orphans_and_its_data(
    tmp_path_for_servers: Path, eventually: Callable[..., None]
) -> None:
    with serving(tmp_path_for_servers, eventually) as first:
        key = first.said("LADDER_API_KEY")
        processes = descendants(first.process.pid)
        first.process.kill()
        eventually(lambda: alive(processes) == set())
    with serving(tmp_path_for_servers, eventually) as second:
        assert second.said("LADDER_API_KEY") == key
        with second.client as client:
            assert [*client.list()] == []


def test_one_data_directory_is_one_stack(tmp_path_for_servers: Path, eventually: Callable[..., None]) -> None:
    with serving(tmp_path_for_servers, eventually) as first:
        second = subprocess.run(
            [sys.executable, "-m", "ladder_client", "serve", "--data-dir", tmp_path_for_servers],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 1
        assert f"another stack (process {first.process.pid}) runs on {tmp_path_for_servers}" in second.stdout
        assert "Traceback" not in second.stdout + second.stderr


def test_a_killed_api_comes_back_while_a_client_waits(
    tmp_path_for_servers: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    with serving(tmp_path_for_servers, eventually) as stack, stack.client as client:
        [api] = [pid for pid in descendants(stack.process.pid) if is_api(pid)]
        os.kill(api, signal.SIGKILL)
        assert [*client.list()] == []
        assert [pid for pid in descendants(stack.process.pid) if is_api(pid)] != [api]


def is_api(pid: int) -> bool:
    return "api.app:create_app" in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_port_in_use_is_named(tmp_path_for_servers: Path, eventually: Callable[..., None]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = subprocess.run(
            [
                *(sys.executable, "-m", "ladder_client", "serve"),
                *("--data-dir", tmp_path_for_servers, "--port", str(port)),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert answer.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in answer.stdout
