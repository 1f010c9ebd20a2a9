"""Users of children: no two attempts share one, and none can reach another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ladder_schema.jobs import JobStatus
from worker.users import ChildUsers
from worker.workspace import Workspace

FIRST = 60_800
HOLD = """
import sys
from pathlib import Path
from worker.users import ChildUsers
with ChildUsers(Path(sys.argv[1]), 60_800, 2).borrow() as identity:
    print(identity.uid, flush=True)
    sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


@pytest.fixture
def users(tmp_path) -> ChildUsers:
    return ChildUsers(tmp_path, FIRST, 2)


def test_each_attempt_has_a_user_that_no_other_worker_has_either(users):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(users.work_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert int(other.stdout.readline()) == FIRST
        with users.borrow() as identity:
            assert (identity.uid, identity.gid) == (FIRST + 1, FIRST + 1)
            with pytest.raises(OSError, match=r"users 60800 to 60801 are all taken; raise LADDER_CHILD_UIDS"):
                users.borrow().__enter__()
        other.kill()
    with users.borrow() as identity:
        assert identity.uid == FIRST


def test_an_error_of_the_attempt_is_its_own(users):
    with pytest.raises(BlockingIOError), users.borrow():
        raise BlockingIOError
    with users.borrow() as identity:
        assert identity.uid == FIRST


@needs_root
def test_a_user_with_a_process_that_still_runs_is_passed_over(users):
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, user=FIRST, group=FIRST, extra_groups=[]
    ) as left:
        with users.borrow() as identity:
            assert identity.uid == FIRST + 1
        left.stdin.close()


@needs_root
def test_a_user_whose_files_are_still_there_is_passed_over(users):
    with users.borrow() as identity, Workspace(users.work_dir / "job" / "1", identity):
        pass
    (users.work_dir / "job" / "2").mkdir(parents=True)
    os.chown(users.work_dir / "job" / "2", 0, FIRST)
    with users.borrow() as identity:
        assert identity.uid == FIRST + 1


def test_attempts_can_reach_neither_files_nor_processes_of_each_other(bench, public_child):
    """With no other wall than the user."""
    bench.users = ChildUsers(bench.settings.work_dir, FIRST, 2)
    first = bench.submit(b"a secret model")
    with bench.running((*public_child, "sleep_until_told")):
        bench.wait_for_stage(first)
        (pid,) = bench.child_pids(first)
        inputs = bench.settings.work_dir / str(first) / "1" / "inputs"
        assert Path(f"/proc/{pid}").stat().st_uid == FIRST
        second = bench.submit(json.dumps({"pid": pid, "inputs": str(inputs)}).encode())
        bench.runner((*public_child, "attack_neighbour")).run_queued_jobs(bench.queue)
        assert json.loads(bench.job(second).error_message) == {
            "uid": FIRST + 1,
            "list": "PermissionError",
            "read": "PermissionError",
            "signal": "PermissionError",
            "look into": "PermissionError",
            "list all jobs": "PermissionError",
        }
        bench.cancel(first)
        bench.wait_for_status(first, JobStatus.CANCELLED)
