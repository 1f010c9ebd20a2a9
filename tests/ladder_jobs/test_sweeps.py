"""Sweeps: expired leases end, the others stay; rows on both sides of every horizon."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import case, func, insert, select, update
from sqlalchemy.exc import InternalError

from ladder_jobs import sweeps
from ladder_jobs.claims import Answer, heartbeat, release, sweep
from ladder_jobs.repository import request_cancel
from ladder_jobs.states import Outcome
from ladder_jobs.sweeps import Patience
from ladder_jobs.tables import Attempt, Job
from ladder_schema.config import SCHEMA_VERSION
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import FINAL_STATUSES, JobStatus


def expire(jobs, job_id, *, ago: timedelta = timedelta(seconds=1)):
    with jobs.sessions.begin() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=func.now() - ago))


@pytest.mark.parametrize(
    ("ago", "requeued"),
    [(timedelta(microseconds=1), 1), (timedelta(0), 0), (timedelta(microseconds=-1), 0)],
)
def test_the_horizon_is_the_lease_to_the_microsecond(jobs, alice, sessions, ago, requeued):
    jobs.queue(alice)
    jobs.claimed()
    with sessions.begin() as session:  # one transaction has one now()
        session.execute(update(Job).values(lease_expires_at=func.now() - ago))
        assert sweep(session, max_worker_losses=10).requeued == requeued


def test_a_lost_worker_gives_its_job_back(jobs, alice, sessions):
    lost, kept, waiting = (jobs.queue(alice) for _ in range(3))
    stale, live = jobs.claimed(worker="w1"), jobs.claimed(worker="w2")
    expire(jobs, lost)
    result = jobs.do(sweep, max_worker_losses=10)
    assert (result.requeued, result.failed, result.cancelled) == (1, 0, 0)
    assert result.waiting == {"gpu": 2}
    assert jobs.do(heartbeat, stale, lease_seconds=60) is Answer.LOST
    assert jobs.do(heartbeat, live, lease_seconds=60) is Answer.GO_ON
    row = jobs.row(lost)
    assert (row.status, row.worker_losses, row.child_deaths) == (JobStatus.QUEUED, 1, 0)
    assert jobs.row(kept).status is JobStatus.RUNNING
    assert jobs.row(waiting).status is JobStatus.QUEUED
    with sessions() as session:
        outcomes = {a.job_id: a.outcome for a in session.scalars(select(Attempt))}
    assert outcomes == {lost: Outcome.WORKER_LOST, kept: None}


def test_a_worker_that_stands_still_in_a_transaction_holds_nobody_up(jobs, alice, sessions):
    """Stopped between a heartbeat and its commit it has the row locked, and no sweep waits for it."""
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    expire(jobs, job_id)
    stalled = sessions()
    heartbeat(stalled, claim, lease_seconds=60)
    assert jobs.do(sweep, max_worker_losses=10).requeued == 0, "the row is locked"
    deadline = time.monotonic() + 25
    while not jobs.do(sweep, max_worker_losses=10).requeued:
        assert time.monotonic() < deadline, "Postgres did not end the transaction"
    with pytest.raises(InternalError, match="idle-in-transaction"):
        stalled.commit()
    stalled.close()
    assert jobs.row(job_id).status is JobStatus.QUEUED


def test_losing_workers_has_its_own_cap(jobs, alice):
    job_id = jobs.queue(alice)
    jobs.do(release, jobs.claimed(), reason="crash", child_died=True, max_child_deaths=3)
    for _ in range(2):
        jobs.claimed()
        expire(jobs, job_id)
        assert jobs.do(sweep, max_worker_losses=3).requeued == 1
    jobs.claimed()
    expire(jobs, job_id)
    assert jobs.do(sweep, max_worker_losses=3).failed == 1
    row = jobs.row(job_id)
    assert (row.status, row.error_code) == (JobStatus.FAILED, ErrorCode.WORKER_LOST)
    assert (row.worker_losses, row.child_deaths) == (3, 1)


def test_a_cancelling_job_without_a_worker_is_cancelled(jobs, alice):
    job_id = jobs.queue(alice)
    jobs.claimed()
    jobs.do(request_cancel, alice, job_id)
    assert jobs.do(sweep, max_worker_losses=10).cancelled == 0
    expire(jobs, job_id)
    assert jobs.do(sweep, max_worker_losses=10).cancelled == 1
    assert jobs.row(job_id).status is JobStatus.CANCELLED


def test_only_queues_with_waiting_jobs_are_woken(jobs, alice):
    assert jobs.do(sweep, max_worker_losses=10).waiting == {}
    jobs.queue(alice, queue="cpu")
    jobs.queue(alice, queue="gpu")
    assert jobs.do(sweep, max_worker_losses=10).waiting == {"cpu": 1, "gpu": 1}
    jobs.claimed(queue="cpu")
    assert jobs.do(sweep, max_worker_losses=10).waiting == {"gpu": 1}


def test_nobody_is_woken_for_jobs_of_another_version(jobs, alice, sessions):
    jobs.queue(alice)
    with sessions.begin() as session:
        session.execute(update(Job).values(config_version=SCHEMA_VERSION + 1))
    assert jobs.do(sweep, max_worker_losses=10).waiting == {}


def test_sweeps_at_once_end_each_lease_once(jobs, alice):
    queued = [jobs.queue(alice) for _ in range(10)]
    for job_id in queued:
        jobs.claimed()
        expire(jobs, job_id)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: jobs.do(sweep, max_worker_losses=10), range(4)))
    assert sum(result.requeued for result in results) == 10
    assert {jobs.row(job_id).worker_losses for job_id in queued} == {1}


def test_a_heartbeat_in_time_saves_the_job_from_a_sweep_that_waits_for_it(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    expire(jobs, job_id)
    with sessions.begin() as beating:
        assert heartbeat(beating, claim, lease_seconds=60) is Answer.GO_ON
        assert jobs.do(sweep, max_worker_losses=10).requeued == 0
    assert jobs.do(sweep, max_worker_losses=10).requeued == 0
    assert jobs.row(job_id).status is JobStatus.RUNNING


def test_a_sweep_ends_a_bounded_number_of_leases_the_oldest_first(jobs, alice, monkeypatch):
    monkeypatch.setattr(sweeps, "MAX_EXPIRED", 2)
    queued = [jobs.queue(alice) for _ in range(3)]
    for age, job_id in enumerate(queued):
        jobs.claimed()
        expire(jobs, job_id, ago=timedelta(seconds=10 - age))
    assert jobs.do(sweep, max_worker_losses=10).requeued == 2
    assert jobs.row(queued[2]).status is JobStatus.RUNNING
    assert jobs.do(sweep, max_worker_losses=10).requeued == 1


def test_waiting_jobs_are_counted_no_further_than_workers_are_woken(jobs, alice, sessions):
    jobs.queue(alice)
    with sessions.begin() as session:
        row = session.scalars(select(Job)).one()
        columns = {c.name: getattr(row, c.name) for c in Job.__table__.columns}
        session.execute(insert(Job), [columns | {"id": uuid4()} for _ in range(sweeps.MAX_WAITING)])
    assert jobs.do(sweep, max_worker_losses=10).waiting == {"gpu": sweeps.MAX_WAITING}


PATIENCE = Patience(queued=timedelta(days=7), running=timedelta(days=1), cancelling=timedelta(minutes=1))
HORIZONS = pytest.mark.parametrize(
    ("longer", "ended"),
    [(timedelta(microseconds=1), 1), (timedelta(0), 0), (timedelta(microseconds=-1), 0)],
    ids=["past", "at", "before"],
)


@HORIZONS
def test_a_queued_job_that_no_worker_takes_fails_in_the_end(jobs, alice, sessions, longer, ended):
    job_id = jobs.queue(alice, queue="served-by-nobody")
    with sessions.begin() as session:
        session.execute(update(Job).values(not_before=func.now() - (PATIENCE.queued + longer)))
        assert sweep(session, max_worker_losses=10, patience=PATIENCE).failed == ended
    row = jobs.row(job_id)
    assert (row.status, row.error_code) == (
        (JobStatus.FAILED, ErrorCode.QUEUE_TIMEOUT) if ended else (JobStatus.QUEUED, None)
    )
    assert (row.attempt, row.started_at) == (0, None)
    if ended:
        assert "No worker of the queue 'served-by-nobody' took the job for 604800 s" in row.error_message


def test_a_job_that_goes_back_to_its_queue_waits_anew(jobs, alice, sessions):
    lost, released = jobs.queue(alice), jobs.queue(alice)
    claims = {claim.job_id: claim for claim in (jobs.claimed(), jobs.claimed())}
    with sessions.begin() as session:
        session.execute(update(Job).values(not_before=func.now() - timedelta(days=30)))
    expire(jobs, lost)
    jobs.do(release, claims[released], reason="stop", child_died=False, max_child_deaths=1)
    result = jobs.do(sweep, max_worker_losses=10, patience=PATIENCE)
    assert (result.requeued, result.failed) == (1, 0)
    assert jobs.do(sweep, max_worker_losses=10, patience=PATIENCE).failed == 0


@HORIZONS
def test_a_worker_that_only_renews_its_lease_does_not_keep_a_cancelled_job(
    jobs, alice, sessions, longer, ended
):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    jobs.do(request_cancel, alice, job_id)
    with sessions.begin() as session:
        assert heartbeat(session, claim, lease_seconds=60) is Answer.CANCEL
        session.execute(update(Job).values(cancel_requested_at=func.now() - (PATIENCE.cancelling + longer)))
        assert sweep(session, max_worker_losses=10, patience=PATIENCE).cancelled == ended
    assert jobs.do(heartbeat, claim, lease_seconds=60) is (Answer.LOST if ended else Answer.CANCEL)
    row = jobs.row(job_id)
    assert row.status is (JobStatus.CANCELLED if ended else JobStatus.CANCELLING)
    with sessions() as session:
        assert session.get_one(Attempt, (job_id, 1)).outcome == (Outcome.CANCELLED if ended else None)


@HORIZONS
def test_a_worker_that_only_renews_its_lease_does_not_keep_a_running_job(
    jobs, alice, sessions, longer, ended
):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    with sessions.begin() as session:
        assert heartbeat(session, claim, lease_seconds=60) is Answer.GO_ON
        began = func.now() - (PATIENCE.running + sweeps.OVERTIME + longer)
        session.execute(update(Attempt).values(started_at=began))
        assert sweep(session, max_worker_losses=10, patience=PATIENCE).failed == ended
    assert jobs.do(heartbeat, claim, lease_seconds=60) is (Answer.LOST if ended else Answer.GO_ON)
    row = jobs.row(job_id)
    assert (row.status, row.error_code) == (
        (JobStatus.FAILED, ErrorCode.TIME_LIMIT) if ended else (JobStatus.RUNNING, None)
    )


def test_every_state_that_is_not_final_has_an_end_when_nobody_answers(jobs, alice, sessions):
    """One job in each, left alone for a month: two sweeps later none is where it was."""
    jobs.queue(alice, queue="served-by-nobody")
    jobs.queue(alice)
    cancelling = jobs.queue(alice)
    for _ in range(2):
        jobs.claimed(lease_seconds=1e9)
    jobs.do(request_cancel, alice, cancelling)
    before = {status for (status,) in jobs.do(lambda session: session.execute(select(Job.status)).all())}
    assert before == set(JobStatus) - FINAL_STATUSES
    month = timedelta(days=30)
    with sessions.begin() as session:
        session.execute(
            update(Job).values(
                not_before=func.now() - month,
                cancel_requested_at=case((Job.id == cancelling, func.now() - month)),
            )
        )
        session.execute(update(Attempt).values(started_at=func.now() - month))
    jobs.do(sweep, max_worker_losses=10, patience=PATIENCE)
    after = jobs.do(lambda session: session.execute(select(Job.status)).all())
    assert sorted(status for (status,) in after) == ["cancelled", "failed", "failed"]


def test_the_settings_say_how_patient_a_sweep_is(settings):
    given = {"queued_max_seconds": 3.0, "job_max_seconds": 2.0, "cancel_max_seconds": 1.0}
    assert Patience.of(settings.model_copy(update=given)) == Patience(
        queued=timedelta(seconds=3), running=timedelta(seconds=2), cancelling=timedelta(seconds=1)
    )
