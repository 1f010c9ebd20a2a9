"""What one attempt leaves, and the next one finds: through the real store and the real database."""

import errno
import json
import os
import signal
import threading
from contextlib import suppress

import pytest
from sqlalchemy import select

from ladder_jobs.claims import LeaseLost, StoredCheckpoint, checkpoints_of, claim_job, record_checkpoint
from ladder_jobs.deletions import delete_objects
from ladder_jobs.states import Outcome
from ladder_jobs.tables import Checkpoint
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobStatus
from ladder_schema.protocol import CheckpointName
from tests.worker.checks import Fault
from worker.checkpoints import CheckpointKeeper
from worker.endings import ProtocolViolation
from worker.files import FileMissing, take
from worker.limits import Limits


def left(bench, job_id) -> dict[str, Checkpoint]:
    with bench.sessions() as session:
        rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id))
        return {row.name: row for row in rows}


def keys(bench, job_id) -> set[str]:
    """Every object of the job, after housekeeping has deleted what it was told to."""
    done = True
    while done:
        with bench.sessions.begin() as session:
            done = delete_objects(session, bench.store, limit=20)
    return set(bench.store.list_keys(f"jobs/{job_id}/"))


def test_each_attempt_finds_what_the_earlier_ones_left(bench):
    job = bench.run("save_and_die")
    assert [attempt.outcome for attempt in bench.attempts(job.id)] == [
        Outcome.CHILD_DIED,
        Outcome.CHILD_DIED,
        Outcome.FAILED,
    ]
    assert json.loads(job.error_message) == {"latents": "of attempt 1", "retrain": "of attempt 2"}
    assert left(bench, job.id) == {}
    assert keys(bench, job.id) == set()


def test_a_stopped_worker_leaves_the_latest_checkpoint(bench):
    job_id = bench.submit()
    with bench.running("save_when_stopped", shutdown_grace_seconds=10.0):
        bench.wait_until(lambda: left(bench, job_id))
        bench.shutdown.set()
    assert bench.job(job_id).status is JobStatus.QUEUED
    kept = left(bench, job_id)["retrain"]
    assert b"".join(bench.store.open(kept.object_key)) == b"the latest"
    assert (kept.attempt, kept.bytes) == (1, len(b"the latest"))
    assert keys(bench, job_id) == {kept.object_key}, "the early one is deleted"

    bench.shutdown.clear()
    bench.runner("tell_what_was_left").run_queued_jobs(bench.queue)
    assert json.loads(bench.job(job_id).error_message) == {"retrain": "the latest"}


def test_a_job_that_has_ended_keeps_none(bench):
    job = bench.run("save_and_succeed")
    assert job.status is JobStatus.SUCCEEDED
    assert left(bench, job.id) == {}
    assert keys(bench, job.id) == {artifact.object_key for artifact in job.artifacts}


def test_a_cancelled_job_keeps_none(bench):
    job_id = bench.submit()
    with bench.running("save_when_stopped", shutdown_grace_seconds=10.0):
        bench.wait_until(lambda: left(bench, job_id))
        bench.cancel(job_id)
    assert bench.job(job_id).status is JobStatus.CANCELLED
    assert left(bench, job_id) == {}
    assert keys(bench, job_id) == set()


@pytest.mark.parametrize("damage", ["deleted", "replaced"])
def test_a_checkpoint_that_is_lost_is_worked_out_again(bench, tmp_path, damage):
    job_id = bench.submit()
    with bench.running("save_when_stopped", shutdown_grace_seconds=10.0):
        bench.wait_until(lambda: left(bench, job_id))
        bench.shutdown.set()
    key = left(bench, job_id)["retrain"].object_key
    if damage == "deleted":
        bench.store.delete(key)
    else:
        (tmp_path / "other").write_bytes(b"something")
        bench.store.put_file(key, tmp_path / "other")
    bench.shutdown.clear()
    bench.runner("tell_what_was_left").run_queued_jobs(bench.queue)
    assert json.loads(bench.job(job_id).error_message) == {}


@pytest.mark.parametrize("behaviour", ["save_a_link_to_the_model", "save_a_link"])
def test_only_files_of_the_childs_own_are_taken_and_others_end_it(bench, behaviour):
    job_id = bench.submit()
    bench.runner(behaviour).run_queued_jobs(bench.queue)
    job = bench.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, ErrorCode.PROTOCOL_VIOLATION)
    assert "retrain is no file" in job.error_message
    assert left(bench, job_id) == {}
    assert keys(bench, job_id) == set()


def test_what_is_taken_is_a_plain_file_of_a_fitting_size(tmp_path):
    box = tmp_path / "box"
    box.mkdir()
    (box / "model").write_bytes(b"12345")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"1")
    (box / "way").symlink_to(elsewhere)
    (box / "link").symlink_to(elsewhere / "file")
    os.mkfifo(box / "pipe")
    os.link(elsewhere / "file", box / "second-name")
    (box / "empty").touch()
    (box / "directory" / "within").mkdir(parents=True)
    with pytest.raises(FileMissing, match="gone is missing"):
        take(box / "gone", tmp_path / "taken", max_bytes=4)
    complaints = {
        "model": "has 5 bytes, of at most 4",
        "way/file": "is no file",
        "link": "is no file",
        "pipe": "is no plain file",
        "directory": "is no plain file",
        "second-name": "is no plain file",
        "empty": "has 0 bytes",
    }
    for name, complaint in complaints.items():
        with pytest.raises(ProtocolViolation, match=complaint):
            take(box / name, tmp_path / "taken", max_bytes=4)
        with suppress(FileNotFoundError):
            (tmp_path / "taken").rename(tmp_path / f"refused-{len(list(tmp_path.iterdir()))}")
    assert (elsewhere / "file").exists()


def test_a_worker_that_lost_the_job_leaves_nothing(bench):
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="slow", lease_seconds=60)
    bench.reassign(job_id)
    stored = StoredCheckpoint("jobs/somewhere", 1, "0" * 64)
    with pytest.raises(LeaseLost), bench.sessions.begin() as session:
        record_checkpoint(session, claim, CheckpointName.RETRAIN, stored)
    with pytest.raises(LeaseLost), bench.sessions() as session:
        checkpoints_of(session, claim)
    assert left(bench, job_id) == {}


def test_a_store_that_is_down_costs_checkpoints_only(bench, servers):
    """The store is away while the child saves; the job goes on, and the next checkpoint is stored."""
    job_id = bench.submit()
    with bench.running("save_when_told"):
        bench.wait_for_stage(job_id)
        servers.stop("seaweedfs")
        (child,) = bench.child_pids(job_id)
        os.kill(child, signal.SIGUSR1)
        bench.wait_until(lambda: bench.job(job_id).progress > 0.5)
        servers.start("seaweedfs")
        os.kill(child, signal.SIGUSR1)
        bench.wait_until(lambda: left(bench, job_id))
        os.kill(child, signal.SIGUSR1)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED


def test_a_fault_costs_a_checkpoint_and_not_those_after_it(bench, monkeypatch):
    faults = [Fault()]

    def keep_or_break(keeper, name, path):
        if faults:
            raise faults.pop()
        keep(keeper, name, path)

    keep = CheckpointKeeper._keep
    monkeypatch.setattr(CheckpointKeeper, "_keep", keep_or_break)
    job_id = bench.submit()
    with bench.running("save_when_told"):
        bench.wait_for_stage(job_id)
        (child,) = bench.child_pids(job_id)
        os.kill(child, signal.SIGUSR1)
        bench.wait_until(lambda: not faults)
        os.kill(child, signal.SIGUSR1)
        bench.wait_until(lambda: left(bench, job_id))
        os.kill(child, signal.SIGUSR1)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED


def test_an_outage_ends_an_attempt_after_its_checkpoint_is_stored(bench, monkeypatch):
    """The disk fails the watch while a checkpoint is on its way: the next attempt goes on from it."""
    on_its_way, was_dropped = threading.Event(), []

    def keep_late(keeper, name, path):
        on_its_way.set()
        bench.wait_until(lambda: keeper._is_closing)
        was_dropped.append(keeper._is_dropped)
        keep(keeper, name, path)

    def exceeded(limits):
        if on_its_way.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    keep = CheckpointKeeper._keep
    monkeypatch.setattr(CheckpointKeeper, "_keep", keep_late)
    monkeypatch.setattr(Limits, "exceeded", exceeded)
    job_id = bench.submit()
    with bench.running("save_when_told", retry_seconds=600.0):
        bench.wait_for_stage(job_id)
        (child,) = bench.child_pids(job_id)
        os.kill(child, signal.SIGUSR1)
    assert was_dropped == [False]
    assert b"".join(bench.store.open(left(bench, job_id)["retrain"].object_key)) == b"saved at 0.6"
    assert (bench.job(job_id).status, bench.job(job_id).outages) == (JobStatus.QUEUED, 1)
