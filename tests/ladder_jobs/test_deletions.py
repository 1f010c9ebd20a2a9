"""Removing a job: rows at once, objects by housekeeping, and nothing that another job needs."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from ladder_jobs.claims import settle_cancelled, settle_failed
from ladder_jobs.deletions import JobNotFinalError, delete_job, delete_objects
from ladder_jobs.objects import ObjectStore, StoreError, attempt_key, job_prefix
from ladder_jobs.repository import request_cancel
from ladder_jobs.tables import Attempt, Deletion, Event, Job, Upload
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import JobError

ERROR = JobError(code=ErrorCode.MODEL_UNREADABLE, message="No model.", stage=None)


def failed_job(jobs, store, owner):
    """A job that has ended, all of whose objects are in the store."""
    jobs.queue(owner)
    claim = jobs.claimed()
    keys = [claim.model.key, claim.dataset.key, attempt_key(claim.job_id, 1, "model.pt")]
    for key in keys:
        store.put_stream(key, io.BytesIO(b"abc"))
    jobs.do(settle_failed, claim, ERROR)
    return claim.job_id, keys


def count(jobs, table):
    with jobs.sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_nothing_of_a_removed_job_stays(jobs, alice, store):
    job_id, keys = failed_job(jobs, store, alice)
    kept, kept_keys = failed_job(jobs, store, alice)
    assert jobs.do(delete_job, alice, job_id)
    assert [count(jobs, table) for table in (Job, Upload, Attempt)] == [1, 2, 1]
    with jobs.sessions() as session:
        assert set(session.scalars(select(Event.job_id))) == {kept}
    assert all(store.exists(key) for key in keys)
    assert jobs.do(delete_objects, store, limit=20) == 3
    assert not any(store.exists(key) for key in keys)
    assert list(store.list_keys(job_prefix(job_id))) == []
    assert all(store.exists(key) for key in kept_keys)
    assert count(jobs, Deletion) == 0
    assert not jobs.do(delete_job, alice, job_id)


def test_an_upload_that_another_job_uses_stays(jobs, alice, store):
    job_id, (model, dataset, _) = failed_job(jobs, store, alice)
    other = jobs.queue(alice)
    with jobs.sessions.begin() as session:
        shared = session.get_one(Job, job_id).model_upload_id
        session.execute(update(Job).where(Job.id == other).values(model_upload_id=shared))
    jobs.do(delete_job, alice, job_id)
    jobs.do(delete_objects, store, limit=20)
    assert (store.exists(model), store.exists(dataset)) == (True, False)


def test_only_a_job_that_has_ended_is_removed(jobs, alice):
    job_id = jobs.queue(alice)
    claim = None
    for step in range(3):
        with pytest.raises(JobNotFinalError):
            jobs.do(delete_job, alice, job_id)
        if step == 0:
            claim = jobs.claimed()
        else:
            jobs.do(request_cancel, alice, job_id)
    jobs.do(settle_cancelled, claim)
    assert not jobs.do(delete_job, jobs.owner("mallory"), job_id)
    assert jobs.do(delete_job, alice, job_id)


def test_an_outage_of_the_store_loses_no_entry(jobs, alice, store, settings):
    job_id, keys = failed_job(jobs, store, alice)
    jobs.do(delete_job, alice, job_id)
    gone = ObjectStore(settings.model_copy(update={"s3_bucket": "no-such-bucket"}))
    with pytest.raises(StoreError):
        jobs.do(delete_objects, gone, limit=20)
    assert count(jobs, Deletion) == 3
    jobs.do(delete_objects, store, limit=20)
    assert not any(store.exists(key) for key in keys)


def test_two_housekeepers_delete_everything_in_bounded_batches(jobs, alice, store):
    keys = []
    for _ in range(4):
        job_id, of_job = failed_job(jobs, store, alice)
        keys += of_job
        jobs.do(delete_job, alice, job_id)
    assert jobs.do(delete_objects, store, limit=2) == 2
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: jobs.do(delete_objects, store, limit=20), range(2)))
    assert sum(done) == 10
    assert not any(store.exists(key) for key in keys)


def test_while_a_backup_runs_nothing_is_deleted(jobs, alice, store, settings, database_url):
    """As operators do it: the command runs, and its exit code is passed on."""
    job_id, keys = failed_job(jobs, store, alice)
    jobs.do(delete_job, alice, job_id)
    command = [sys.executable, "-m", "ladder_jobs", "hold-deletions", "--"]
    backup = [
        sys.executable,
        "-c",
        "import sys; print('begun', flush=True); sys.exit(int(sys.stdin.readline()))",
    ]
    secrets = {
        f"LADDER_{name.upper()}": getattr(value, "get_secret_value", lambda value=value: value)()
        for name, value in settings
        if value is not None
    }
    environment = {**os.environ, **{name: str(value) for name, value in secrets.items()}}
    with subprocess.Popen(
        [*command, *backup],
        env=environment | {"LADDER_DATABASE_URL": database_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        assert jobs.do(delete_objects, store, limit=20) == 0
        assert all(store.exists(key) for key in keys)
        process.communicate(b"3\n")
    assert process.returncode == 3
    assert jobs.do(delete_objects, store, limit=20) == 3
    assert not any(store.exists(key) for key in keys)
