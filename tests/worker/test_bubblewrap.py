"""bubblewrap around a child: all that a worker has to be able to do, through one more process."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus
from tests.hostile.attacks import ATTACKS
from tests.worker.attacked import attempt
from tests.worker.conftest import SCRIPTED_CHILD
from worker.bubblewrap import find_bubblewrap
from worker.process import CHILD_COMMAND, ChildProcess
from worker.sandbox.confinement import Wall
from worker.sandbox.proof import prove
from worker.usage import family
from worker.users import child_users
from worker.workspace import Workspace

WITHOUT_CALLS = Path(__file__).with_name("without_calls.py")
MOUNT = {"x86_64": 165, "aarch64": 40}
TRY = """
import sys
from ladder_jobs.logs import configure_logging
from worker.bubblewrap import find_bubblewrap
from worker.settings import WorkerSettings
configure_logging("INFO")
print(find_bubblewrap(WorkerSettings(), None, gpu=False))
"""


@pytest.fixture
def within(bench):
    """A bench whose children run within bubblewrap."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    bench.configure(bubblewrap="auto")
    bench.users = child_users(bench.settings)
    bench.bubblewrap = find_bubblewrap(bench.settings, bench.users, gpu=False)
    if bench.bubblewrap is None:
        pytest.skip("bubblewrap may not make namespaces here; the log says why")
    return bench


def test_a_job_succeeds_within(within):
    assert within.run("succeed").status is JobStatus.SUCCEEDED


def test_the_real_child_reads_an_upload_within(within):
    """With its libraries, and every wall it raises itself."""
    job = within.run(CHILD_COMMAND)
    assert job.error_code is ErrorCode.MODEL_UNREADABLE, job.error_message


def test_a_child_sees_nothing_but_its_own(within):
    job = within.run("look_around")
    seen = json.loads(job.error_message)
    uid = seen.pop("uid")
    if within.users is not None:
        assert uid in range(within.users.first, within.users.first + within.users.count)
    work_dir = str(within.settings.work_dir / str(job.id) / "1")
    assert seen == {
        "processes": 2,
        "networks": ["lo"],
        "passwords": False,
        "root": "Read-only file system",
        "attempts": [Path(work_dir).name],
        "cwd": f"{work_dir}/output",
    }


@pytest.mark.parametrize("end", [("die", "was killed by SIGKILL"), ("exit_quietly", "exited with 0")])
def test_an_end_is_told_as_it_was(within, end):
    behaviour, how = end
    job = within.run(behaviour, max_child_deaths=1)
    assert job.error_code is ErrorCode.CHILD_CRASHED
    assert how in job.error_message


@pytest.mark.parametrize("behaviour", ["sleep_until_told", "ignore_everything"])
def test_a_running_job_is_cancelled(within, behaviour):
    job_id = within.submit()
    with within.running(behaviour):
        within.wait_for_stage(job_id)
        assert len(within.child_pids(job_id)) > 1
        within.cancel(job_id)
        within.wait_until(lambda: within.job(job_id).status is JobStatus.CANCELLED, seconds=5)
    assert within.child_pids(job_id) == []


def test_closing_waits_for_the_process_that_held_the_model(within, tmp_path):
    with Workspace(tmp_path / "work" / "job" / "1", None) as workspace:
        child = started(within, workspace)
        pids = list(family(child.pid))
        assert len(pids) == 3
        child.close()
        assert not any(within.is_alive(pid) for pid in pids)


def test_a_child_dies_with_what_stands_between(within, tmp_path):
    with Workspace(tmp_path / "work" / "job" / "1", None) as workspace:
        child = started(within, workspace)
        pids = list(family(child.pid))
        os.kill(child.pid, signal.SIGKILL)
        within.wait_until(lambda: not any(within.is_alive(pid) for pid in pids), seconds=5)
        child.close()


@pytest.mark.parametrize(
    "name",
    [
        "read_other",
        "list_cgroups",
        "connect",
        "start_program",
        "signal_parent",
        "fill_deleted_files",
        "hoard",
        "spin",
        "nest_deeply",
    ],
)
def test_the_walls_within_hold_as_they_do_without(within, name):
    attack = ATTACKS[name]
    job = attempt(within, name)
    assert (job.status, job.error_code) == (JobStatus.FAILED, attack.code), job.error_message
    # What cannot even be seen cannot be refused.
    words = "No such file" if name in {"read_other", "list_cgroups"} else attack.words
    assert words in job.error_message
    assert within.child_pids(job.id) == []


def test_the_self_test_is_run_within_and_every_wall_holds(within):
    climbs = prove(within.settings, within.users, "cpu", cgroups=None, bubblewrap=within.bubblewrap)
    assert [climb for climb in climbs if not climb.held] == []
    assert Wall.PARENT_DEATH in {climb.wall for climb in climbs}


def test_where_it_may_not_make_namespaces_the_worker_says_so_and_goes_on(within):
    lacking = (sys.executable, str(WITHOUT_CALLS), str(errno.EPERM), str(MOUNT[os.uname().machine]), "--")
    tried = subprocess.run(
        [*lacking, sys.executable, "-c", TRY],
        env=within.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert tried.stdout == "None\n"
    (line,) = tried.stderr.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"]) == ("bubblewrap_unusable", "warning")
    assert "Operation not permitted" in said["reason"]


def test_it_can_be_switched_off(bench):
    assert bench.settings.bubblewrap == "off"
    assert find_bubblewrap(bench.settings, None, gpu=False) is None


def started(bench, workspace: Workspace) -> ChildProcess:
    """A child that has said its first word, as root's where root is who runs the tests."""
    child = ChildProcess(
        (sys.executable, "-I", str(SCRIPTED_CHILD), "sleep_until_told"),
        work_dir=workspace.output,
        log=workspace.log,
        max_log_bytes=1_000,
        identity=None,
        outer_wall=bench.bubblewrap,
    )
    bench.wait_until(lambda: child.receive(0.1))
    return child
