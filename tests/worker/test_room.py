"""A disk that is full: who ends by it, and who does not."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ladder_jobs.states import Outcome
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus
from tests.worker.test_limits import MIB, limited
from worker.workspace import Workspace


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "none", str(place)]
    if (mounted := subprocess.run(command, capture_output=True, text=True, check=False)).returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_job_that_has_filled_the_disk_ends_by_it(bench, small_disk):
    with Workspace(small_disk / "job" / "1", None) as workspace:
        assert not limited(bench, workspace, min_free_bytes=40 * MIB)
        (workspace.output / "file").write_bytes(bytes(45 * MIB))
        code, message = limited(bench, workspace, min_free_bytes=40 * MIB)
    assert code is ErrorCode.DISK_LIMIT
    assert "with fewer than 40 MiB left, and more than half of it is this job's: 45 MiB in" in message


def test_a_job_does_not_end_by_a_disk_that_its_neighbours_have_filled(bench, small_disk):
    """Although it has written as much as has to be left."""
    (small_disk / "neighbour").write_bytes(bytes(30 * MIB))
    with Workspace(small_disk / "job" / "1", None) as workspace:
        (workspace.output / "file").write_bytes(bytes(20 * MIB))
        with pytest.raises(OSError, match="fewer than 16 MiB left") as full:
            limited(bench, workspace, min_free_bytes=16 * MIB)
    assert full.value.errno == errno.ENOSPC


def test_a_disk_without_room_for_files_is_full(bench, small_disk):
    subprocess.run(["mount", "-o", "remount,nr_inodes=10010", str(small_disk)], check=True)
    with Workspace(small_disk / "job" / "1", None) as workspace:
        for number in range(20):
            (workspace.output / str(number)).touch()
        with pytest.raises(OSError, match="room for fewer than 10000 files left"):
            limited(bench, workspace, min_free_bytes=0)
        subprocess.run(["mount", "-o", "remount,nr_inodes=10100", str(small_disk)], check=True)
        assert not limited(bench, workspace, min_free_bytes=0)


def test_inputs_that_would_leave_too_little_of_the_disk_are_not_fetched(bench, small_disk):
    """A neighbour, for whom there is enough as it is, would have to give way."""
    bench.configure(work_dir=small_disk / "work", min_free_bytes=40 * MIB, max_outages=1)
    job_id = bench.submit(model=bytes(5 * MIB), dataset=bytes(10 * MIB))
    with capture_logs() as logs:
        bench.runner("succeed").run_queued_jobs(bench.queue)
    events = [entry["event"] for entry in logs]
    assert "disk_full" in events
    assert "attempt_started" in events
    assert bench.attempts(job_id)[0].outcome is Outcome.FAILED
    assert bench.job(job_id).error_code is ErrorCode.DISK_LIMIT


def test_a_job_whose_disk_others_have_filled_goes_back_to_its_queue(bench, small_disk):
    (small_disk / "other").write_bytes(bytes(45 * MIB))
    bench.configure(work_dir=small_disk / "work")
    job_id = bench.submit()
    with bench.running("sleep_until_told", min_free_bytes=40 * MIB, retry_seconds=60.0):
        bench.wait_until(lambda: [row.outcome for row in bench.attempts(job_id)] == [Outcome.RELEASED])
        bench.shutdown.set()
    assert bench.job(job_id).status is JobStatus.QUEUED
