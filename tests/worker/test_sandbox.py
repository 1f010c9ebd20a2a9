"""The walls around a model, each climbed at from within by a real process."""

import os
import re
import sys
from pathlib import Path

import pytest

from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus
from worker import limits
from worker.sandbox import landlock, proof, seccomp
from worker.sandbox.confinement import Wall
from worker.users import child_users

CLIMBING_CHILD = Path(__file__).with_name("climbing_child.py")
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no landlock")


def test_every_wall_holds(bench):
    climbs = proof.prove(bench.settings, child_users(bench.settings), "cpu")
    assert [climb for climb in climbs if not climb.held] == []
    assert {climb.wall for climb in climbs} == {None, Wall.LIMITS, Wall.LANDLOCK, Wall.SECCOMP}
    assert not (bench.settings.work_dir / "self-test").exists()


def test_a_missing_wall_is_refused_or_named(bench, monkeypatch):
    """Nothing here lacks landlock: the probe is told that it does."""
    lacking = "from worker.sandbox import climbs, landlock; landlock.abi = lambda: 0; climbs.main()"
    monkeypatch.setattr(proof, "_COMMAND", (sys.executable, "-I", "-c", lacking))
    with pytest.raises(
        proof.SandboxError, match=r"no landlock .* read a file outside: succeeded.*LADDER_SANDBOX"
    ):
        proof.prove(bench.settings, None, "cpu")
    relaxed = bench.settings.model_copy(update={"sandbox": "best-effort"})
    climbs = proof.prove(relaxed, None, "cpu")
    assert {climb.wall for climb in climbs if not climb.held} == {Wall.LANDLOCK}


ATTACKS = {
    # attack: (target, wall, code of the job's error, what its message says)
    "read the shadow file": ("read", "/etc/shadow", "internal", "Permission denied"),
    "read another job's input": ("read", "{other}", "internal", "Permission denied"),
    "connect to Postgres": ("connect", "{database}", "internal", "Operation not permitted"),
    "start a program": ("start_program", "/bin/sh", "internal", "Operation not permitted"),
    "fork": ("fork", "", "internal", "Operation not permitted"),
    "signal the parent": ("signal_parent", "", "internal", "Operation not permitted"),
    "fill one file": ("fill_one_file", "", "internal", "File too large"),
    "fill the disk": ("fill_the_disk", "", "disk_limit", "MiB of disk"),
    "allocate without end": ("hoard", "", "out_of_memory", "MiB of memory"),
    "spin for ever": ("spin", "", "time_limit", "ran longer"),
    "write to the pipe without end": ("flood_the_pipe", "", "protocol_violation", ""),
    "nest deeply": ("nest_deeply", "", "protocol_violation", ""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_the_job_and_nothing_else(bench, name):
    attack, target, code, words = ATTACKS[name]
    other = bench.settings.work_dir / "other" / "1" / "inputs" / "model"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another job's model")
    for directory in (other, *other.parents):
        if directory.is_relative_to(bench.settings.work_dir.parent):
            directory.chmod(0o755)
    host = re.search(r"@([^/]+)/", bench.settings.database_url.get_secret_value())
    assert host
    target = target.format(other=other, database=host[1])
    job = bench.run(
        (sys.executable, "-I", str(CLIMBING_CHILD), attack, target),
        max_result_bytes=64 << 20,
        max_disk_bytes=200 << 20,
        max_memory_bytes=256 << 20,
        job_max_seconds=8.0,
    )
    assert job.status is JobStatus.FAILED
    assert job.error_code is ErrorCode(code)
    assert words in job.error_message
    assert other.read_bytes() == b"another job's model"
    assert bench.run("succeed").status is JobStatus.SUCCEEDED


def test_silence_ends_a_job(bench):
    job = bench.run("ignore_everything", job_idle_seconds=0.5)
    assert job.error_code is ErrorCode.IDLE_LIMIT


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


def test_disk_is_measured_without_following_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to("/usr")
    assert 1 << 20 <= limits.disk_bytes(tmp_path) < 2 << 20
