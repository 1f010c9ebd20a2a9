"""Control groups, where this machine lets us make them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus
from worker.cgroups import Cgroups, Limit, NotDelegatedError, find_delegated
from worker.limits import default_memory_limit
from worker.sandbox.confinement import Wall
from worker.sandbox.proof import prove
from worker.users import child_users

LIMIT = Limit(memory_bytes=64 << 20, processes=20)
HOARD = "import sys; sys.stdin.read(1); held = bytearray(200 << 20); print(held[::4096].count(0))"
FORK = """
import os, sys
sys.stdin.read(1)
try:
    for _ in range(100):
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
except OSError as error:
    print(error.strerror)
"""
HOLD = """
import sys, time
from worker.cgroups import Cgroups, Limit
from pathlib import Path
with Cgroups(Path(sys.argv[1])).group("held", Limit(1 << 30, 20)):
    print("held", flush=True)
    time.sleep(600)
"""
FIND = """
from worker.cgroups import find_delegated
cgroups = find_delegated()
print(open("/proc/self/cgroup").read().rpartition("0::")[2].strip())
"""


@pytest.fixture
def cgroups() -> Cgroups:
    try:
        return find_delegated()
    except NotDelegatedError as reason:
        pytest.skip(f"no control groups here: {reason}")


@pytest.fixture
def base(cgroups) -> Iterator[Path]:
    """A group of this test's own, marked as systemd marks what it delegates."""
    path = cgroups._base / f"ladder-test-{uuid4()}"
    path.mkdir()
    (path / "cgroup.subtree_control").write_text("+memory +pids")
    os.setxattr(path, "trusted.delegate" if os.geteuid() == 0 else "user.delegate", b"1")
    yield path
    for group in (*path.glob("*/"), path):
        with suppress(FileNotFoundError):
            (group / "cgroup.kill").write_text("1")
            group.rmdir()


def started(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_kernel_kills_what_takes_more_memory_than_its_group_may(base):
    with Cgroups(base).group("one", LIMIT) as group, started(HOARD) as process:
        group.add([process.pid])
        assert group.oom_kills == 0
        said, _ = process.communicate("x")
        assert (said, process.returncode, group.oom_kills > 0) == ("", -9, True)
    assert list(base.glob("ladder-attempt-*")) == []


def test_a_group_has_so_many_processes_and_no_more(base):
    with Cgroups(base).group("one", LIMIT) as group, started(FORK) as process:
        group.add([process.pid])
        process.stdin.write("x")
        process.stdin.flush()
        assert process.stdout.readline() == "Resource temporarily unavailable\n"
    # They were still reading when it was left.
    assert list(base.glob("ladder-attempt-*")) == []


def test_what_a_dead_worker_leaves_is_removed_and_what_a_living_one_has_is_not(base):
    with started(HOLD, str(base)) as worker:
        worker.stdout.readline()
        with started("input()") as child:
            (base / "ladder-attempt-held" / "cgroup.procs").write_text(str(child.pid))
            assert Cgroups(base).remove_abandoned() == 0
            worker.kill()
            worker.wait()
            assert Cgroups(base).remove_abandoned() == 1
            assert child.wait() == -9
    assert list(base.glob("ladder-attempt-*")) == []


def test_a_worker_moves_out_of_a_group_that_has_others_below_it(base):
    service = base / "service"
    service.mkdir()
    os.setxattr(service, "trusted.delegate" if os.geteuid() == 0 else "user.delegate", b"1")
    with started(f"input()\n{FIND}\n{FIND}") as worker:
        (service / "cgroup.procs").write_text(str(worker.pid))
        said, _ = worker.communicate("\n")
    own = "/" + str(service).partition("/cgroup/")[2]
    assert said.split() == [f"{own}/ladder-workers"] * 2
    assert (service / "cgroup.subtree_control").read_text().split() == ["memory", "pids"]
    (service / "ladder-workers").rmdir()


def test_a_worker_leaves_groups_that_are_not_its_own_alone(base):
    foreign = base / "somebody" / "else"
    foreign.mkdir(parents=True)
    with started(f"input()\n{FIND}") as worker:
        (foreign / "cgroup.procs").write_text(str(worker.pid))
        said, _ = worker.communicate("\n")
        assert (said, worker.returncode) == ("", 1)
    assert list(foreign.glob("*/")) == []
    foreign.rmdir()


def test_a_jobs_memory_is_its_groups(bench, base):
    bench.cgroups = Cgroups(base)
    job = bench.run("eat_memory", max_memory_bytes=128 << 20)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.OUT_OF_MEMORY)
    assert "128 MiB" in job.error_message
    assert len(bench.attempts(job.id)) == 1
    assert bench.run("succeed").status is JobStatus.SUCCEEDED
    assert list(base.glob("ladder-attempt-*")) == []


def test_the_default_limit_is_within_the_workers_own(base):
    (base / "memory.max").write_text(str(512 << 20))
    inner = base / "inner"
    inner.mkdir()
    with started("input()\nfrom worker.limits import *\nprint(default_memory_limit())") as worker:
        (inner / "cgroup.procs").write_text(str(worker.pid))
        said, _ = worker.communicate("\n")
    assert int(said) == (512 << 20) * 9 // 10 < default_memory_limit()


def test_the_self_test_shows_that_a_group_limits_memory(bench, cgroups):
    climbs = prove(bench.settings, child_users(bench.settings), "cpu", cgroups=cgroups, bubblewrap=None)
    assert [climb for climb in climbs if not climb.held] == []
    assert Wall.CONTROL_GROUP in {climb.wall for climb in climbs}
