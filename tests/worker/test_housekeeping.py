"""Housekeeping as operators run it: everything that is due, once, and an exit code that tells."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, update

from ladder_jobs.claims import claim_job, settle_failed
from ladder_jobs.objects import ObjectStore, attempt_key, upload_key
from ladder_jobs.tables import Job
from ladder_jobs.wakeups import celery_app, wakeups_waiting
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError, JobStatus
from worker.housekeeping import House, clear


@pytest.fixture
def house() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `python -m worker housekeeping --once`."""

    def run(bench) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "worker", "housekeeping", "--once"]
        return subprocess.run(command, env=bench.environment(), capture_output=True, text=True, check=False)

    return run


def said(process, event: str) -> list[dict]:
    lines = [json.loads(line) for line in process.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def own_bucket(bench):
    """The bench on a bucket of its own: what other tests left is no concern of this one's."""
    bench.configure(s3_bucket=f"house-{uuid4().hex}")
    bench.store = ObjectStore(bench.settings)
    bench.store.ensure_bucket()
    yield bench
    for key in list(bench.store.list_keys()):
        bench.store.delete(key)
    bench.store._client.remove_bucket(bench.settings.s3_bucket)


def fail(bench) -> None:
    """Let the best queued job fail."""
    error = JobError(code=ErrorCode.INTERNAL, message="Over.", stage=None)
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="w", lease_seconds=60)
        settle_failed(session, claim, error)


def test_everything_that_is_due_is_done_once(own_bucket, house):
    bench = own_bucket
    old, young = bench.submit(), bench.submit()
    for _ in range(2):
        fail(bench)
    lost = bench.submit()
    bench.claim_and_vanish()
    orphan = upload_key(bench.owner_id, uuid4())
    bench.store.put_stream(orphan, io.BytesIO(b"abc"))
    bench.store.put_stream(attempt_key(old, 1, "latents"), io.BytesIO(b"abc"))
    with bench.sessions.begin() as session:
        earlier = func.now() - timedelta(days=2)
        session.execute(update(Job).where(Job.id == old).values(finished_at=earlier))
    bench.configure(artifact_retention_days=1.0, upload_retention_days=1.0)

    process = house(bench)
    assert process.returncode == 0, process.stderr
    assert bench.job(lost).status is JobStatus.QUEUED
    assert wakeups_waiting(celery_app(bench.settings), bench.queue) == 1
    assert bench.job(old).artifacts_expired_at is not None
    kept = {key for job_id in (young, lost) for key in bench.upload_keys(job_id).values()}
    assert set(bench.store.list_keys()) == kept | {orphan}, "within its grace"
    assert said(process, "orphans_collected")[0]["deleted"] == 0

    bench.configure(orphan_grace_seconds=0.001)
    bench.wait_until(lambda: bench.store.now() > next(bench.store.list_objects(orphan)).written_at)
    process = house(bench)
    assert process.returncode == 0, process.stderr
    assert set(bench.store.list_keys()) == kept
    assert said(process, "orphans_collected")[0]["deleted"] == 1


def test_what_could_not_be_done_is_told(bench, house):
    bench.configure(s3_endpoint="127.0.0.1:1")
    job_id = bench.submit()
    bench.claim_and_vanish()
    process = house(bench)
    assert process.returncode == 1
    assert said(process, "orphans_not_collected")
    assert bench.job(job_id).status is JobStatus.QUEUED, "the sweep needs no store"


def test_more_than_a_batch_is_cleared_at_once(own_bucket, monkeypatch):
    bench = own_bucket
    monkeypatch.setattr("worker.housekeeping._EXPIRIES", 1)
    monkeypatch.setattr("worker.housekeeping._DELETIONS", 1)
    jobs = [bench.submit() for _ in range(3)]
    for _ in jobs:
        fail(bench)
    with bench.sessions.begin() as session:
        earlier = func.now() - timedelta(days=2)
        session.execute(update(Job).where(Job.id.in_(jobs)).values(finished_at=earlier))
    house = House.of(bench.settings.model_copy(update={"job_retention_days": 1.0}))
    assert clear(house)
    house.engine.dispose()
    with bench.sessions() as session:
        assert [session.get(Job, job_id) for job_id in jobs] == [None] * 3
    assert list(bench.store.list_keys()) == []
