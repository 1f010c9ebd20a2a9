"""Claims: one worker a job, the best job first, and no write without the lease."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text, update

from ladder_jobs.claims import (
    Answer,
    Claim,
    LeaseLost,
    StoredArtifact,
    heartbeat,
    outcome_of,
    record_progress,
    release,
    release_after_outage,
    settle_cancelled,
    settle_failed,
    settle_succeeded,
    sweep,
)
from ladder_jobs.claims.choice import BEST_OF_ALL, BEST_OF_HEADS
from ladder_jobs.repository import list_events, request_cancel
from ladder_jobs.states import EventKind, IllegalTransitionError, Outcome
from ladder_jobs.tables import Artifact, Attempt, Event, Job
from ladder_schema.config import READABLE_VERSIONS, SCHEMA_VERSION, resolve_config
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import ArtifactName, JobError, JobStatus, Stage

ERROR = JobError(code=ErrorCode.MODEL_UNREADABLE, message="No model.", stage=Stage.VALIDATE)
OUTAGE = {"reason": "outage", "max_outages": 3, "error": ERROR}
MODEL = StoredArtifact(ArtifactName.MODEL, "jobs/x/model.pt", 3, "0" * 64, "application/octet-stream")


def test_a_claim_says_what_the_worker_needs(jobs, alice):
    job_id = jobs.queue(alice, preset="quick", seed=7)
    claim = jobs.claimed(worker="w9")
    row = jobs.row(job_id)
    assert (claim.job_id, claim.attempt) == (job_id, 1)
    assert claim.config.seed == 7
    assert claim.model.filename == "model.bin"
    assert claim.dataset.key.startswith(f"uploads/{alice}/")
    assert (row.status, row.token, row.worker) == (JobStatus.RUNNING, claim.token, "w9")
    assert row.started_at is not None


def test_nothing_queued_is_no_claim(jobs, alice):
    assert jobs.claim() is None
    jobs.queue(alice, queue="cpu")
    assert jobs.claim(queue="gpu") is None


def test_racing_workers_get_each_job_exactly_once(jobs, alice):
    queued = {jobs.queue(alice) for _ in range(40)}
    start = threading.Barrier(8)

    def work(worker: str) -> list[Claim]:
        start.wait()
        taken = []
        while (claim := jobs.claim(worker=worker)) is not None:
            taken.append(claim)
        return taken

    with ThreadPoolExecutor(8) as pool:
        claims = [c for taken in pool.map(work, (f"w{n}" for n in range(8))) for c in taken]
    assert Counter(c.job_id for c in claims) == Counter(queued)
    assert len({c.token for c in claims}) == 40


def test_priority_goes_before_age(jobs, alice):
    jobs.queue(alice)
    urgent = jobs.queue(alice, priority=1)
    assert jobs.claimed().job_id == urgent


def test_owners_share_workers_fairly(jobs, alice):
    bob = jobs.owner("bob")
    of_alice = [jobs.queue(alice) for _ in range(3)]
    of_bob = [jobs.queue(bob) for _ in range(2)]
    order = [jobs.claimed().job_id for _ in range(5)]
    assert order == [of_alice[0], of_bob[0], of_alice[1], of_bob[1], of_alice[2]]


@pytest.mark.parametrize("seed", range(6))
def test_the_heads_of_the_queue_give_the_order_of_the_whole_queue(jobs, seed):
    """Owners by the dozen, few and many, idle and busy, at three priorities: two queries, one answer."""
    draw = random.Random(seed)
    owners = [jobs.owner(f"owner {n}") for n in range(draw.choice([1, 3, 12]))]
    for _ in range(40):
        jobs.queue(draw.choice(owners), priority=draw.choice([0, 0, 1, 2]))
    for _ in range(40):
        with jobs.sessions() as session:
            heads, every = (
                session.scalar(text(f"WITH RECURSIVE {best} SELECT id FROM best"), {"queue": "gpu"})
                for best in (BEST_OF_HEADS, BEST_OF_ALL)
            )
        claim = jobs.claimed()
        assert heads == every == claim.job_id
        if draw.random() < 0.6:
            jobs.do(settle_failed, claim, ERROR)


def test_a_claimer_whose_heads_are_all_held_takes_the_next(jobs, alice):
    queued = [jobs.queue(alice) for _ in range(40)]
    with jobs.sessions.begin() as session:
        session.scalars(select(Job).where(Job.id.in_(queued[:30])).with_for_update()).all()
        assert jobs.claimed().job_id == queued[30]
    assert jobs.claimed().job_id == queued[0]


def test_a_finished_job_no_longer_counts_against_its_owner(jobs, alice):
    bob = jobs.owner("bob")
    jobs.queue(alice)
    jobs.do(settle_succeeded, jobs.claimed(), [MODEL])
    second = jobs.queue(alice)
    jobs.queue(bob)
    assert jobs.claimed().job_id == second


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, READABLE_VERSIONS[0] - 1])
def test_a_configuration_of_another_version_is_left_alone(jobs, alice, sessions, version):
    """A newer version's job waits for a worker that can read it; of those that cannot, none fails it."""
    job_id = jobs.queue(alice)
    with sessions.begin() as session:
        session.execute(update(Job).values(config_version=version))
    assert jobs.claim() is None
    assert jobs.row(job_id).status is JobStatus.QUEUED


def test_a_configuration_that_cannot_be_read_fails_its_job_and_stops_nobody(jobs, alice, sessions):
    broken, sound = jobs.queue(alice, queue="gpu", priority=1), jobs.queue(alice)
    with sessions.begin() as session:
        session.execute(update(Job).where(Job.id == broken).values(config={"method": "gone"}))
    assert jobs.claimed().job_id == sound
    row = jobs.row(broken)
    assert (row.status, row.error_code, row.token) == (JobStatus.FAILED, ErrorCode.INTERNAL, None)
    assert "configuration can no longer be read" in row.error_message
    with sessions() as session:
        assert session.get_one(Attempt, (broken, 1)).outcome is Outcome.FAILED
    assert jobs.claim() is None


def test_heartbeats_renew_the_lease_and_hear_of_a_cancel(jobs, alice):
    job_id = jobs.queue(alice)
    claim = jobs.claimed(lease_seconds=1)
    before = jobs.row(job_id).lease_expires_at
    assert jobs.do(heartbeat, claim, lease_seconds=60) is Answer.GO_ON
    assert jobs.row(job_id).lease_expires_at > before
    jobs.do(request_cancel, alice, job_id)
    assert jobs.do(heartbeat, claim, lease_seconds=60) is Answer.CANCEL


def test_a_heartbeat_writes_no_index(jobs, alice, sessions):
    """It comes every second for every job that runs: Postgres puts the new row beside the old one."""
    jobs.queue(alice)
    claim = jobs.claimed()
    count = text(
        "SELECT pg_stat_get_xact_tuples_updated(jobs), pg_stat_get_xact_tuples_hot_updated(jobs) "
        "FROM CAST('jobs' AS regclass) jobs"
    )
    with sessions.begin() as session:
        before = session.execute(count).one()
        heartbeat(session, claim, lease_seconds=60)
        after = session.execute(count).one()
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]


def test_a_new_stage_is_an_event_and_neither_progress_within_it_nor_a_past_one_is(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    told = [(Stage.VALIDATE, 0.1), (Stage.VALIDATE, 0.2), (Stage.LATENTS, 0.3), (Stage.VALIDATE, 0.4)]
    for stage, progress in told:
        jobs.do(record_progress, claim, stage, progress)
    row = jobs.row(job_id)
    assert (row.stage, row.progress) == (Stage.LATENTS, 0.3)
    with sessions() as session:
        history = [(e.kind, e.stage, e.attempt) for e in list_events(session, alice, job_id)]
    assert history == [
        (EventKind.CREATED, None, 0),
        (EventKind.CLAIMED, None, 1),
        (EventKind.STAGE, Stage.VALIDATE, 1),
        (EventKind.STAGE, Stage.LATENTS, 1),
    ]


WRITES = {
    "progress": lambda s, c: record_progress(s, c, Stage.RETRAIN, 0.9),
    "succeeded": lambda s, c: settle_succeeded(s, c, [MODEL]),
    "failed": lambda s, c: settle_failed(s, c, ERROR),
    "cancelled": settle_cancelled,
    "release": lambda s, c: release(s, c, reason="stop", child_died=True, max_child_deaths=1),
    "outage": lambda s, c: release_after_outage(s, c, pause_seconds=1.0, **OUTAGE),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_worker_whose_lease_went_to_another_can_write_nothing(jobs, alice, sessions, write):
    job_id = jobs.queue(alice)
    stale = jobs.claimed(worker="stalled")
    jobs.do(release, stale, reason="taken away", child_died=False, max_child_deaths=3)
    jobs.claimed(worker="successor")

    def snapshot():
        with sessions() as session:
            return (
                session.execute(select(Job.__table__)).all(),
                session.execute(select(Attempt.__table__).order_by(Attempt.number)).all(),
                session.execute(select(func.count()).select_from(Artifact)).all(),
                session.execute(select(func.count()).select_from(Event)).all(),
            )

    before = snapshot()
    with pytest.raises(LeaseLost):
        jobs.do(write, stale)
    assert jobs.do(heartbeat, stale, lease_seconds=60) is Answer.LOST
    assert snapshot() == before
    assert jobs.row(job_id).worker == "successor"


def test_of_two_who_settle_at_once_one_is_refused(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    start = threading.Barrier(2)

    def settle(_: int) -> str:
        start.wait()
        try:
            return jobs.do(settle_succeeded, claim, [MODEL])
        except LeaseLost:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(settle, range(2))) == ["refused", "succeeded"]
    with sessions() as session:
        assert session.scalars(select(Artifact.name).where(Artifact.job_id == job_id)).all() == ["model"]


def test_success_publishes_in_the_same_commit(jobs, alice, sessions):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    with sessions() as unfinished:
        settle_succeeded(unfinished, claim, [MODEL])
        unfinished.flush()
        with sessions() as onlooker:
            assert onlooker.scalars(select(Artifact)).all() == []
            assert onlooker.get_one(Job, job_id).status is JobStatus.RUNNING
        unfinished.rollback()
    assert jobs.do(settle_succeeded, claim, [MODEL]) is JobStatus.SUCCEEDED
    row = jobs.row(job_id)
    assert (row.status, row.progress, row.token, row.worker) == (JobStatus.SUCCEEDED, 1.0, None, None)
    with sessions() as session:
        artifact = session.scalars(select(Artifact)).one()
        attempt = session.get_one(Attempt, (job_id, 1))
    assert (artifact.object_key, artifact.bytes) == (MODEL.key, MODEL.bytes)
    assert attempt.outcome is Outcome.SUCCEEDED
    assert attempt.ended_at is not None


def test_failure_keeps_the_reason(jobs, alice):
    job_id = jobs.queue(alice)
    assert jobs.do(settle_failed, jobs.claimed(), ERROR) is JobStatus.FAILED
    row = jobs.row(job_id)
    assert (row.error_code, row.error_message, row.error_stage) == (ERROR.code, ERROR.message, ERROR.stage)
    assert row.finished_at is not None


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "release", "outage"])
def test_an_accepted_cancel_is_kept_however_the_attempt_ends(jobs, alice, sessions, end):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    jobs.do(request_cancel, alice, job_id)
    jobs.do(WRITES[end], claim)
    row = jobs.row(job_id)
    assert (row.status, row.error_code) == (JobStatus.CANCELLED, None)
    with sessions() as session:
        assert outcome_of(session, claim) is Outcome.CANCELLED
        assert session.scalars(select(Artifact)).all() == []


def test_a_worker_cannot_cancel_what_nobody_asked_to(jobs, alice):
    jobs.queue(alice)
    claim = jobs.claimed()
    with pytest.raises(IllegalTransitionError):
        jobs.do(settle_cancelled, claim)


def test_a_released_job_starts_afresh(jobs, alice):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    jobs.do(record_progress, claim, Stage.RETRAIN, 0.8)
    status = jobs.do(release, claim, reason="worker stops", child_died=False, max_child_deaths=1)
    row = jobs.row(job_id)
    assert status is JobStatus.QUEUED
    assert (row.status, row.stage, row.progress, row.child_deaths) == (JobStatus.QUEUED, None, 0.0, 0)
    second = jobs.claimed()
    assert second.attempt == 2
    assert second.token != claim.token
    assert jobs.row(job_id).started_at == row.started_at


@pytest.mark.parametrize(("pause_seconds", "is_claimable"), [(60.0, False), (0.0, True)])
def test_a_job_that_met_an_outage_waits_while_others_go_on(jobs, alice, pause_seconds, is_claimable):
    first = jobs.queue(alice, priority=1)
    other = jobs.queue(alice)
    jobs.do(release_after_outage, jobs.claimed(), pause_seconds=pause_seconds, **OUTAGE)
    claimed = [claim.job_id for claim in (jobs.claim(), jobs.claim()) if claim]
    assert claimed == ([first, other] if is_claimable else [other])
    waiting = jobs.do(sweep, max_worker_losses=10).waiting
    assert waiting == {}


def test_outages_have_a_count_of_their_own_and_longer_pauses_each_time(jobs, alice, sessions):
    """Attempts that ended otherwise are none of them."""
    job_id = jobs.queue(alice)
    for end in ("release", "died", "release"):
        died = end == "died"
        jobs.do(release, jobs.claimed(), reason=end, child_died=died, max_child_deaths=3)
    pauses = []
    for _ in range(2):
        assert jobs.do(release_after_outage, jobs.claimed(), pause_seconds=60.0, **OUTAGE) is JobStatus.QUEUED
        with sessions.begin() as session:
            row = session.get_one(Job, job_id)
            ended = session.get_one(Attempt, (job_id, row.attempt)).ended_at
            pauses.append((row.not_before - ended).total_seconds())
            row.not_before = ended
    assert pauses == [60.0, 120.0]
    last = jobs.claimed()
    assert jobs.do(release_after_outage, last, pause_seconds=60.0, **OUTAGE) is JobStatus.FAILED
    row = jobs.row(job_id)
    assert (row.attempt, row.outages, row.error_code) == (6, 3, ERROR.code)


def test_a_child_may_die_a_bounded_number_of_times(jobs, alice):
    job_id = jobs.queue(alice)
    for deaths in (1, 2):
        status = jobs.do(release, jobs.claimed(), reason="killed", child_died=True, max_child_deaths=3)
        assert (status, jobs.row(job_id).child_deaths) == (JobStatus.QUEUED, deaths)
    words = JobError(code=ErrorCode.OUT_OF_MEMORY, message="It needed too much.", stage=None)
    status = jobs.do(
        release, jobs.claimed(), reason="killed", child_died=True, max_child_deaths=3, error=words
    )
    row = jobs.row(job_id)
    assert status is JobStatus.FAILED
    assert (row.error_code, row.error_message) == (ErrorCode.OUT_OF_MEMORY, "It needed too much.")


def test_a_pause_after_very_many_outages_has_an_end(jobs, alice):
    job_id = jobs.queue(alice)
    claim = jobs.claimed()
    with jobs.sessions.begin() as session:
        session.get_one(Job, job_id).outages = 1 << 20
    given = {**OUTAGE, "max_outages": 1 << 30}
    assert jobs.do(release_after_outage, claim, pause_seconds=60.0, **given) is JobStatus.QUEUED


def test_a_child_without_last_words_fails_with_the_reason(jobs, alice):
    job_id = jobs.queue(alice)
    jobs.do(release, jobs.claimed(), reason="exit status 139", child_died=True, max_child_deaths=1)
    assert jobs.row(job_id).error_code is ErrorCode.CHILD_CRASHED
    assert "139" in jobs.row(job_id).error_message


def test_a_claim_of_a_job_that_is_gone_is_lost(jobs, alice):
    jobs.queue(alice)
    claim = jobs.claimed()
    other = Claim(**{**claim.__dict__, "token": uuid4()})
    assert jobs.do(heartbeat, other, lease_seconds=1) is Answer.LOST


def test_a_claim_tells_how_long_earlier_attempts_ran_whatever_became_of_them(jobs, alice, sessions):
    jobs.queue(alice)
    assert jobs.claimed().used_seconds == 0
    for number, seconds in ((1, 20.5), (2, 40.25)):
        with sessions.begin() as session:
            began = func.now() - timedelta(seconds=seconds)
            session.execute(update(Attempt).where(Attempt.number == number).values(started_at=began))
            session.execute(update(Job).values(lease_expires_at=func.now() - timedelta(seconds=1)))
            assert sweep(session, max_worker_losses=10).requeued == 1
        claim = jobs.claimed()
    assert claim.attempt == 3
    assert claim.used_seconds == pytest.approx(60.75)


def test_a_job_of_every_version_this_one_reads_is_claimed_and_upgraded(jobs, alice, sessions):
    """What an API of an earlier version has queued, a worker of this one runs."""
    assert READABLE_VERSIONS[-1] == SCHEMA_VERSION
    for version in READABLE_VERSIONS:
        job_id = jobs.queue(alice, seed=version, preset="quick")
        with sessions.begin() as session:
            stored = {**session.get_one(Job, job_id).config, "schema_version": version}
            if version < 2:
                del stored["max_runtime"]
            changes = {"config": stored, "config_version": version}
            session.execute(update(Job).where(Job.id == job_id).values(changes))
        assert jobs.do(sweep, max_worker_losses=10).waiting == {"gpu": 1}
        claim = jobs.claimed()
        assert claim.job_id == job_id
        assert claim.config == resolve_config({"seed": version, "preset": "quick"})
        jobs.do(settle_failed, claim, ERROR)
