"""A child that no signal ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
