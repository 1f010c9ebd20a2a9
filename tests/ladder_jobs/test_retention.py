"""Expiry: by policy, from the job's end, and never what a job still needs."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from ladder_jobs.claims import StoredArtifact, settle_succeeded
from ladder_jobs.deletions import delete_job, delete_objects
from ladder_jobs.objects import attempt_key
from ladder_jobs.repository import request_cancel
from ladder_jobs.retention import Expired, Retention, expire
from ladder_jobs.settings import Settings
from ladder_jobs.tables import Artifact, Deletion, Job, Upload
from ladder_schema.jobs import ArtifactName, JobStatus

DAY = timedelta(days=1)
KINDS = {
    "uploads": Retention(uploads=DAY),
    "artifacts": Retention(artifacts=DAY),
    "jobs": Retention(jobs=DAY),
}


def succeeded(jobs, owner, store) -> tuple[UUID, dict[str, str]]:
    """A job that has ended well, and where its objects lie."""
    jobs.queue(owner)
    claim = jobs.claimed()
    result = attempt_key(claim.job_id, 1, "model.pt")
    keys = {"model": claim.model.key, "dataset": claim.dataset.key, "result": result}
    for key in keys.values():
        store.put_stream(key, io.BytesIO(b"abc"))
    artifact = StoredArtifact(ArtifactName.MODEL, result, 3, "0" * 64, "application/octet-stream")
    jobs.do(settle_succeeded, claim, [artifact])
    return claim.job_id, keys


def age(jobs, *job_ids: UUID, by: timedelta = 2 * DAY) -> None:
    with jobs.sessions.begin() as session:
        session.execute(update(Job).where(Job.id.in_(job_ids)).values(finished_at=func.now() - by))


def present(store, keys) -> set[str]:
    return {kind for kind, key in keys.items() if store.exists(key)}


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (KINDS["uploads"], {"result"}),
        (KINDS["artifacts"], {"model", "dataset"}),
        (KINDS["jobs"], set()),
        (Retention(), {"model", "dataset", "result"}),
    ],
    ids=[*KINDS, "none"],
)
def test_each_kind_expires_by_its_own_policy(jobs, alice, store, retention, left):
    job_id, keys = succeeded(jobs, alice, store)
    young, young_keys = succeeded(jobs, alice, store)
    age(jobs, job_id)
    jobs.do(expire, retention, limit=10)
    assert present(store, keys) == set(keys), "the commit only writes them down"
    jobs.do(delete_objects, store, limit=20)
    assert present(store, keys) == left
    assert present(store, young_keys) == set(young_keys)
    assert jobs.do(expire, retention, limit=10) == Expired(0, 0, 0), "once is enough"
    assert jobs.row(young).artifacts_expired_at is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("older_by", "expired"),
    [(timedelta(microseconds=1), 1), (timedelta(0), 0), (timedelta(microseconds=-1), 0)],
)
def test_the_horizon_is_the_policy_to_the_microsecond(jobs, alice, store, sessions, kind, older_by, expired):
    succeeded(jobs, alice, store)
    with sessions.begin() as session:  # one transaction has one now()
        session.execute(update(Job).values(finished_at=func.now() - (DAY + older_by)))
        session.flush()
        assert getattr(expire(session, KINDS[kind], limit=10), kind) == expired


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_job_that_has_not_ended_expires(jobs, alice, kind):
    queued = jobs.queue(alice, queue="cpu")
    running, cancelling = jobs.queue(alice), jobs.queue(alice)
    for _ in range(2):
        jobs.claimed()
    jobs.do(request_cancel, alice, cancelling)
    with jobs.sessions.begin() as session:
        session.execute(update(Job).values(created_at=func.now() - 9 * DAY))
    assert jobs.do(expire, KINDS[kind], limit=10) == Expired(0, 0, 0)
    states = [jobs.row(job_id).status for job_id in (queued, running, cancelling)]
    assert states == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING]


def test_what_is_left_of_a_job_says_that_its_results_expired(jobs, alice, store, sessions):
    job_id, _ = succeeded(jobs, alice, store)
    age(jobs, job_id)
    jobs.do(expire, Retention(uploads=DAY, artifacts=DAY), limit=10)
    row = jobs.row(job_id)
    assert row.status is JobStatus.SUCCEEDED
    assert row.artifacts_expired_at == row.uploads_expired_at is not None
    with sessions() as session:
        assert session.scalars(select(Artifact)).all() == []
        assert set(session.scalars(select(Upload.expired_at))) == {row.uploads_expired_at}


@pytest.mark.parametrize("other_ends", [False, True])
def test_an_upload_goes_with_the_last_job_that_uses_it(jobs, alice, store, other_ends):
    job_id, keys = succeeded(jobs, alice, store)
    other = jobs.queue(alice)
    with jobs.sessions.begin() as session:
        shared = session.get_one(Job, job_id).model_upload_id
        session.execute(update(Job).where(Job.id == other).values(model_upload_id=shared))
    if other_ends:
        jobs.do(request_cancel, alice, other)
        age(jobs, other)
    age(jobs, job_id)
    jobs.do(expire, KINDS["uploads"], limit=10)
    jobs.do(delete_objects, store, limit=20)
    assert present(store, keys) == ({"result"} if other_ends else {"model", "result"})


@pytest.mark.parametrize("give_up", ["expire", "delete"])
def test_of_two_who_give_up_the_last_users_at_once_one_gives_up_the_upload(jobs, alice, store, give_up):
    """Each sees the other's job as it was: only the lock on the upload tells the second."""
    pairs = []
    for _ in range(4):
        (first, keys), (second, _) = succeeded(jobs, alice, store), succeeded(jobs, alice, store)
        with jobs.sessions.begin() as session:
            shared = session.get_one(Job, first).model_upload_id
            session.execute(update(Job).where(Job.id == second).values(model_upload_id=shared))
        pairs.append((first, second, keys["model"]))
    for first, second, key in pairs:
        age(jobs, first, second)
        with ThreadPoolExecutor(2) as pool:
            if give_up == "expire":
                list(pool.map(lambda _: jobs.do(expire, KINDS["uploads"], limit=1), range(2)))
            else:
                list(pool.map(lambda job_id: jobs.do(delete_job, alice, job_id), (first, second)))
        with jobs.sessions() as session:
            assert session.get(Deletion, key) is not None


def test_batches_are_bounded_and_the_oldest_go_first(jobs, alice, store):
    ended = [succeeded(jobs, alice, store)[0] for _ in range(3)]
    for days, job_id in enumerate(ended):
        age(jobs, job_id, by=(9 - days) * DAY)
    assert jobs.do(expire, KINDS["artifacts"], limit=2).most == 2
    assert [job_id for job_id in ended if jobs.row(job_id).artifacts_expired_at is None] == ended[2:]
    assert jobs.do(expire, KINDS["artifacts"], limit=2).most == 1


def test_two_housekeepers_at_once_expire_each_job_once(jobs, alice, store):
    ended = [succeeded(jobs, alice, store)[0] for _ in range(6)]
    age(jobs, *ended)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: jobs.do(expire, KINDS["jobs"], limit=10), range(3)))
    assert sum(expired.jobs for expired in found) == 6


INDEX = {"uploads": "ix_jobs_uploads_kept", "artifacts": "ix_jobs_artifacts_kept", "jobs": "ix_jobs_ended"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_has_the_jobs_whose_turn_it_is(jobs, alice, store, sessions, kind):
    """However many jobs have ended, a look at those to expire reads the index of that and nothing else."""
    succeeded(jobs, alice, store)
    with sessions.begin() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        expire(session, KINDS[kind], limit=10)
        used = text(
            "SELECT indexrelname FROM pg_stat_user_indexes "
            "WHERE relname = 'jobs' AND pg_stat_get_xact_numscans(indexrelid) > 0"
        )
        assert INDEX[kind] in set(session.scalars(used))


def test_when_results_expire_is_told_from_the_jobs_end(jobs, alice, store):
    job = jobs.row(succeeded(jobs, alice, store)[0])
    assert Retention(artifacts=DAY, jobs=9 * DAY).results_expire_at(job) == job.finished_at + DAY
    assert Retention(jobs=9 * DAY).results_expire_at(job) == job.finished_at + 9 * DAY
    assert Retention(uploads=DAY).results_expire_at(job) is None
    assert KINDS["artifacts"].results_expire_at(jobs.row(jobs.queue(alice))) is None


@pytest.mark.parametrize("name", ["upload_retention_days", "artifact_retention_days"])
def test_a_policy_that_contradicts_itself_is_refused(settings, name):
    given = settings.model_dump() | {"job_retention_days": 30.0}
    Settings(**(given | {name: 30.0}))
    with pytest.raises(ValueError, match=rf"{name} \(31\).*job_retention_days \(30\)"):
        Settings(**(given | {name: 31.0}))
