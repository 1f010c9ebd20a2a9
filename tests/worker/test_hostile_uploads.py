"""Hostile uploads through the real worker and its child: the job fails by name, and nothing else happens."""

import io
import os

import numpy as np
import pytest

from ladder_schema.jobs import JobStatus
from tests.hostile.table import HOSTILE
from worker.limits import default_memory_limit
from worker.process import CHILD_COMMAND

ATTACKS = (
    "write during load",
    "os.system in data.pkl",
    "pt2: guard",
    "endless loop",
    "huge allocation",
)


@pytest.fixture(scope="module")
def dataset() -> bytes:
    buffer = io.BytesIO()
    images = np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32)
    np.savez(buffer, x_train=images, y_train=np.arange(60) % 3)
    return buffer.getvalue()


def test_one_worker_outlives_every_attack(bench, dataset, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"the secret")
    # The child may be another user: what keeps it out must not be the directory's mode.
    outside.chmod(0o777)
    jobs = {}
    for name in ATTACKS:
        path = tmp_path / "upload"
        HOSTILE[name].make(path, outside)
        jobs[name] = bench.submit(path.read_bytes(), dataset, preset="quick")
    bench.runner(CHILD_COMMAND, job_max_seconds=25.0, max_memory_bytes=1 << 30).run_queued_jobs(bench.queue)
    for name, job_id in jobs.items():
        job = bench.job(job_id)
        assert (name, job.status) == (name, JobStatus.FAILED)
        assert (name, job.error_code) == (name, HOSTILE[name].code), job.error_message
        assert HOSTILE[name].words in job.error_message
        assert bench.child_pids(job_id) == []
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"the secret"


def test_the_default_memory_limit_leaves_some_to_the_worker():
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < default_memory_limit() < machine


@pytest.mark.parametrize(("behaviour", "signal"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV")])
def test_a_crash_fails_the_job_with_what_happened(bench, behaviour, signal):
    job = bench.run(behaviour, max_child_deaths=1)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "child_crashed")
    assert signal in job.error_message
