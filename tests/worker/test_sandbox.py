"""The walls around a model, each climbed at from within by a real process."""

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ladder_schema.jobs import JobStatus
from tests.hostile.attacks import ATTACKS
from tests.worker.attacked import attempt
from worker.identity import Identity, start_as
from worker.sandbox import landlock, policy, proof, seccomp
from worker.sandbox.confinement import Wall
from worker.users import child_users
from worker.workspace import Workspace

WITHOUT_CALLS = Path(__file__).with_name("without_calls.py")
LANDLOCK = (444, 445, 446)
Completed = subprocess.CompletedProcess[str]
FOLLOW = """
import sys
from worker.sandbox import Confinement, confine
place = "/nonexistent"
confine(Confinement(writable=place, readable=(), max_file_bytes=1, max_cpu_seconds=9, parent=int(sys.argv[1]),
                    own_user=False, gpu=False, strict=True))
print("follows")
"""
WITHOUT_SYS_PTRACE = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(24, 19, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_SYS_PTRACE
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
WRITE = """
import os, sys
from worker.sandbox import Confinement, confine
confine(Confinement(writable=os.getcwd(), readable=(), max_file_bytes=1 << 30, max_cpu_seconds=60,
                    parent=int(sys.argv[1]), own_user=False, gpu=False, strict=True))
import numpy, torch
from safetensors.torch import save_file
weights = {"w": torch.rand(512, 512)}
torch.save(weights, "model.pt")
save_file(weights, "weights.safetensors")
numpy.lib.format.open_memmap("cache.npy", mode="w+", dtype="float32", shape=(512, 512))[:] = 1
torch.UntypedStorage.from_file("storage", shared=True, nbytes=1 << 20).fill_(1)
with open("reserved", "wb") as file:
    os.posix_fallocate(file.fileno(), 0, 1 << 20)
"""
TAKE_THREADS = """
import os, sys, threading
from worker.sandbox import Confinement, confine
confine(Confinement(writable=os.getcwd(), readable=(), max_file_bytes=1, max_cpu_seconds=60,
                    parent=int(sys.argv[1]), own_user=False, gpu=False, strict=True))
try:
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
except RuntimeError:
    print(sum(thread.ident is not None for thread in threading.enumerate()), flush=True)
sys.stdin.read()
os._exit(0)
"""
SHARE_THREADS = """
import os, resource, subprocess, sys, threading
resource.setrlimit(resource.RLIMIT_NPROC, (40, 40))
command = [sys.executable, "-I", "-c", sys.argv[1], str(os.getpid())]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
count = child.stdout.readline().strip()
threading.Thread(target=print, args=(f"the child has {count}, and the worker one more",)).start()
child.communicate()
"""
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no landlock")


def test_every_wall_holds(bench):
    climbs = proof.prove(bench.settings, child_users(bench.settings), "cpu", cgroups=None, bubblewrap=None)
    assert [climb for climb in climbs if not climb.held] == []
    ours_alone = {Wall.USER} if os.geteuid() != 0 else set()
    assert {climb.wall for climb in climbs} == {None, *Wall} - {Wall.CONTROL_GROUP} - ours_alone
    assert not (bench.settings.work_dir / "self-test").exists()


def worker_without(bench, calls: tuple[int, ...], *command: str, **environment: str) -> "Completed":
    """Run a worker's command where the kernel does not have some calls."""
    lacking = (sys.executable, str(WITHOUT_CALLS), str(errno.ENOSYS), *map(str, calls), "--", sys.executable)
    return subprocess.run(
        [*lacking, "-m", "worker", *command, "--device", "cpu"],
        env={**bench.environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["hardening", "sandbox"])
def test_without_landlock_a_worker_refuses_to_start(bench, command):
    refused = worker_without(bench, LANDLOCK, command)
    assert refused.returncode == 1
    assert "uploaded models would not be confined: " in refused.stderr
    assert "no landlock (this kernel has no landlock)" in refused.stderr.replace("[Errno 38] ", "")
    assert "LADDER_SANDBOX=best-effort" in refused.stderr
    assert not (bench.settings.work_dir / "self-test").exists()


def test_best_effort_goes_on_without_landlock_and_says_so(bench):
    shown = worker_without(bench, LANDLOCK, "sandbox", LADDER_SANDBOX="best-effort")
    assert shown.returncode == 0
    assert "| read a file outside | landlock | EACCES | succeeded |" in shown.stdout
    assert "| open a socket | seccomp | EPERM | EPERM |" in shown.stdout
    assert '"event": "sandbox_incomplete"' in shown.stderr


def test_what_a_worker_cannot_see_keeps_it_from_starting(bench):
    """Without the rights of a debugger, files that are deleted and held open count for nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can lack them")
    command = [sys.executable, "-c", WITHOUT_SYS_PTRACE, "-m", "worker", "sandbox", "--device", "cpu"]
    refused = subprocess.run(command, env=bench.environment(), capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "hide a deleted file: not seen" in refused.stderr
    assert "CAP_SYS_PTRACE" in refused.stderr


@pytest.mark.parametrize("command", ["hardening", "sandbox"])
def test_the_walls_are_those_of_the_device_that_a_worker_would_choose(bench, command):
    """Where there is no GPU, a worker for one would not start: nor are its walls shown."""
    refused = subprocess.run(
        [sys.executable, "-m", "worker", command, "--device", "cuda"],
        env={**bench.environment(), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "--device is cuda, and no GPU can be used here: " in refused.stderr


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that every user can reach: no closed directory on the way is what stops them."""
    with tempfile.TemporaryDirectory(prefix="ladder-attacks-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_stopped_by_its_wall_and_by_nothing_else(bench, name, open_directory):
    bench.configure(work_dir=open_directory / "work")
    attack = ATTACKS[name]
    job = attempt(bench, name)
    assert (job.status, job.error_code) == (JobStatus.FAILED, attack.code), job.error_message
    assert attack.words in job.error_message
    # Nothing is left of it, and the worker does the next job.
    assert bench.child_pids(job.id) == []
    assert not (bench.settings.work_dir / str(job.id)).exists()
    assert bench.run("succeed").status is JobStatus.SUCCEEDED


def test_a_child_whose_parent_died_before_it_could_follow_ends_at_once():
    """The parent that it was told of is not the one it has: it was adopted meanwhile."""
    adopted = subprocess.run(
        [sys.executable, "-I", "-c", FOLLOW, str(os.getppid())], capture_output=True, text=True, check=False
    )
    assert (adopted.returncode, adopted.stdout) == (-signal.SIGKILL, "")
    followed = subprocess.run(
        [sys.executable, "-I", "-c", FOLLOW, str(os.getpid())], capture_output=True, text=True, check=False
    )
    assert (followed.returncode, followed.stdout) == (0, "follows\n")


def test_files_are_written_in_every_way_that_a_job_writes_them(tmp_path):
    """Without `fallocate`, which some of them would ask for."""
    written = subprocess.run(
        [sys.executable, "-I", "-c", WRITE, str(os.getpid())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (written.returncode, written.stderr) == (0, "")
    assert (tmp_path / "reserved").stat().st_size == 1 << 20


def test_a_child_of_the_workers_user_leaves_threads_to_the_worker(bench):
    """Of 40 that the user may have, one is the worker's and five are left to it."""
    users = child_users(bench.settings)
    if users is None:
        pytest.skip("only root can be a user who has nothing yet")
    nobody_else = Identity(60_790, 60_790, must_unveil=users.must_unveil)
    with (
        Workspace(bench.settings.work_dir / "job" / "1", nobody_else) as workspace,
        start_as(
            nobody_else,
            (sys.executable, "-I", "-c", SHARE_THREADS, TAKE_THREADS),
            workspace.root,
            cwd=workspace.output,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as worker,
    ):
        said, complaints = worker.communicate()
    assert (said, complaints) == (b"the child has 34, and the worker one more\n", b"")


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine):
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not installed")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", HEADERS[machine].read_text())
    kernels = {name: int(number) for name, number in lines} | {
        "newfstatat": 262 if machine == "x86_64" else 79
    }
    ours = seccomp.ARCHITECTURES[machine].numbers
    assert {name: kernels.get(name) for name in ours} == dict(ours)


def test_the_document_names_every_exception_and_condition():
    text = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
    for calls, who in policy.EXCEPTIONS.items():
        named = ", ".join(f"`{name}`" for name in calls.split())
        assert f"| {named} | {who} |" in text
    conditions = {*policy.conditions(1, gpu=False), policy.NEVER_CHANGES_LIMITS}
    section = text.partition("Conditions on their arguments")[2].partition("\n\nNot on the list")[0]
    assert (
        set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE))))
        == conditions
    )
