"""Processes that die, fill their logs and leave others behind, and a machine that has no room."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ladder_local import process as process_module
from ladder_local.directory import DataDirectory
from ladder_local.process import Command, Process
from ladder_local.servers.seaweedfs import SeaweedFS
from ladder_local.supervisor import Supervisor
from tests.ladder_local.conftest import eventually


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DataDirectory]:
    with DataDirectory(tmp_path / "data") as directory:
        yield directory


@pytest.fixture
def supervisor(directory: DataDirectory) -> Iterator[Supervisor]:
    with Supervisor(directory) as supervisor:
        yield supervisor


def shell(script: str, directory: DataDirectory) -> Command:
    return Command("shell", ("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, directory.path)


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_start_that_fails_is_tried_again(directory: DataDirectory, supervisor: Supervisor) -> None:
    killed = supervisor.start(shell("exec sleep 1000", directory)).pid
    supervisor.watch("shell")
    away = directory.logs.with_name("away")
    with capture_logs() as logged:
        directory.logs.rename(away)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: any(entry["event"] == "cannot look after process" for entry in logged))
        away.rename(directory.logs)
        eventually(lambda: supervisor.process("shell").pid != killed)
    assert supervisor.process("shell").exit_status is None


def test_a_log_does_not_grow_without_end(
    directory: DataDirectory, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_LOG_BYTES", 1000)
    script = f"printf %02000d 1; until [ -s {directory.logs}/shell.log.1 ]; do sleep 0.01; done; echo later"
    started = supervisor.start(shell(f"{script}; exec sleep 1000", directory))
    supervisor.watch("shell")
    eventually(lambda: started.log.read_text() == "later\n")
    assert (directory.logs / "shell.log.1").stat().st_size == 2000
    assert supervisor.process("shell").pid == started.pid


def test_what_a_process_leaves_in_its_group_ends_with_it(directory: DataDirectory) -> None:
    process = Process(shell("sleep 1000 & echo $!", directory), directory.logs, directory.lock)
    assert process.wait(30) == 0
    left = int(process.log.read_text())
    eventually(lambda: not is_running(left))
    process.ask_to_stop()
    process.stop()
    assert process.exit_status == 0


def test_a_process_that_does_not_heed_is_killed(directory: DataDirectory) -> None:
    command = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done", directory)
    process = Process(
        Command("shell", command.argv, command.environment, command.directory, stop_seconds=0.2),
        directory.logs,
        directory.lock,
    )
    eventually(lambda: process.log.read_text() == "ready\n")
    process.stop()
    assert process.exit_status == -signal.SIGKILL


def test_an_object_store_that_was_never_prepared_is_cleaned_up(directory: DataDirectory) -> None:
    SeaweedFS(directory, "bucket").clean_up()
