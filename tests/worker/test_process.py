"""A child that no signal ends, and one that cannot be watched as it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ladder_schema.protocol import Done
from tests.worker.conftest import is_within
from worker import process
from worker.process import ChildProcess

CLOSE = """
import subprocess, sys
from pathlib import Path
from ladder_jobs.logs import configure_logging
from worker import process

configure_logging("INFO")
process._GONE_SECONDS = 0.5
here = Path.cwd()
child = process.ChildProcess(
    [sys.executable, "-c", "print(flush=True); input()"],
    work_dir=here,
    log=here / "log",
    max_log_bytes=1,
    identity=None,
)
tracer = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(child.pid)], stdout=subprocess.PIPE)
tracer.stdout.readline()
child.close()
print("closed")
"""
# What another process traces is left for it to bury: for its parent it is there until the other has looked.
TRACE = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
PTRACE_SEIZE = 0x4206
assert ctypes.CDLL(None).ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None) == 0
print(flush=True)
signal.pause()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may trace whatever the machine's policy")
def test_a_worker_whose_child_does_not_go_ends_and_claims_nothing(tmp_path: Path):
    worker = subprocess.run(
        [sys.executable, "-c", CLOSE, TRACE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (worker.returncode, worker.stdout) == (os.EX_OSERR, "")
    (line,) = worker.stderr.splitlines()
    assert '"event": "child_not_gone"' in line
    assert '"Z' in line


TALK = """
import sys
sys.stderr.write("x" * (1 << 20) + "the end")
sys.stderr.flush()
print('{"type": "done"}', flush=True)
"""


def talking(tmp_path: Path, log: Path) -> ChildProcess:
    """A child that has more to tell than a pipe holds."""
    return ChildProcess(
        [sys.executable, "-c", TALK], work_dir=tmp_path, log=log, max_log_bytes=1 << 21, identity=None
    )


def test_a_log_that_cannot_be_written_stops_no_child(tmp_path: Path):
    with capture_logs() as logs:
        child = talking(tmp_path, tmp_path / "missing" / "log")
        messages = []
        while not child.exited:
            messages += child.receive(1.0)
        assert child.close() == 0
    assert messages == [Done()]
    assert child.log_tail.endswith(b"the end")
    assert [entry["event"] for entry in logs] == ["child_log_lost"]


def test_no_child_is_left_that_nobody_would_watch(tmp_path: Path, monkeypatch):
    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process._LogCopy, "start", no_thread)
    with pytest.raises(RuntimeError, match="new thread"):
        talking(tmp_path, tmp_path / "log")
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert not any(is_within(pid, tmp_path) for pid in pids)
