"""The child's log: in pieces while it grows, whole when its attempt has ended, and nobody else's."""

import hashlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from ladder_jobs import joblogs
from ladder_jobs.claims import claim_job
from ladder_jobs.deletions import delete_job, delete_objects
from ladder_jobs.joblogs import MAX_CHUNK_BYTES, MAX_LIVE_BYTES, add_chunk, read_log
from ladder_jobs.objects import StoredObject
from ladder_jobs.tables import AttemptLog, LogChunk
from ladder_schema.jobs import JobStatus

BEFORE, AFTER = b"before \x1b[31m\x00\n", b"after\n"


def stored_logs(bench, job_id) -> list[AttemptLog]:
    with bench.sessions() as session:
        query = select(AttemptLog).where(AttemptLog.job_id == job_id).order_by(AttemptLog.attempt)
        return list(session.scalars(query))


def pieces(bench, job_id) -> bytes:
    with bench.sessions() as session:
        query = select(LogChunk.content).where(LogChunk.job_id == job_id)
        return b"".join(session.scalars(query.order_by(LogChunk.attempt, LogChunk.start)))


def content(bench, log: AttemptLog) -> bytes:
    return b"".join(bench.store.open(log.object_key))


def wait_for_heartbeat(bench, job_id) -> None:
    before = bench.job(job_id).lease_expires_at
    bench.wait_until(lambda: bench.job(job_id).lease_expires_at != before)


def allow(bench, job_id) -> None:
    (child,) = bench.child_pids(job_id)
    os.kill(child, signal.SIGUSR1)


def test_a_log_can_be_read_while_it_grows_and_is_stored_at_the_end(bench):
    job_id = bench.submit()
    with bench.running("tell"):
        bench.wait_until(lambda: pieces(bench, job_id) == BEFORE)
        assert stored_logs(bench, job_id) == []
        allow(bench, job_id)
    (log,) = stored_logs(bench, job_id)
    assert content(bench, log) == BEFORE + AFTER
    assert (log.attempt, log.bytes) == (1, len(BEFORE + AFTER))
    assert log.sha256 == hashlib.sha256(BEFORE + AFTER).hexdigest()
    assert log.object_key == f"jobs/{job_id}/attempts/1/child.log"
    assert pieces(bench, job_id) == b""


def test_every_attempts_log_is_kept_however_it_ended(bench):
    job = bench.run("die", max_child_deaths=2)
    assert job.status is JobStatus.FAILED
    logs = stored_logs(bench, job.id)
    assert [log.attempt for log in logs] == [1, 2]
    assert all(b"place.py" in content(bench, log) for log in logs)
    failed = bench.run("tell_and_fail")
    assert [content(bench, log) for log in stored_logs(bench, failed.id)] == [b"a word\n"]


def test_a_cancelled_jobs_log_is_kept(bench):
    job_id = bench.submit()
    with bench.running("tell"):
        bench.wait_for_stage(job_id)
        bench.cancel(job_id)
    assert bench.job(job_id).status is JobStatus.CANCELLED
    assert [content(bench, log) for log in stored_logs(bench, job_id)] == [BEFORE]


def test_a_child_that_prints_nothing_leaves_no_log(bench):
    job = bench.run("succeed")
    assert stored_logs(bench, job.id) == []


def test_the_pieces_of_a_job_are_bounded_and_the_stored_log_is_whole(bench):
    job_id = bench.submit()
    with bench.running("tell_much", heartbeat_seconds=0.005):
        bench.wait_until(lambda: len(pieces(bench, job_id)) > MAX_LIVE_BYTES - MAX_CHUNK_BYTES)
        for _ in range(3):
            wait_for_heartbeat(bench, job_id)
        assert len(pieces(bench, job_id)) <= MAX_LIVE_BYTES
        allow(bench, job_id)
    (log,) = stored_logs(bench, job_id)
    assert log.bytes == 1 << 21


def test_short_pieces_are_bounded_in_number(bench):
    """A job whose attempts wrote a byte at a time has few rows, not a mebibyte of them."""
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="w", lease_seconds=60)
        add_chunk(session, claim, 0, b"x")
        assert joblogs.live_budget(session, job_id) == MAX_LIVE_BYTES - 256


def test_a_lost_attempt_writes_nothing_more(bench):
    job_id = bench.submit()
    with bench.running("tell"):
        bench.wait_until(lambda: pieces(bench, job_id) == BEFORE)
        bench.reassign(job_id)
        allow(bench, job_id)
    assert stored_logs(bench, job_id) == []
    assert pieces(bench, job_id) == BEFORE
    assert list(bench.store.list_keys(f"jobs/{job_id}/")) == []


def test_neither_a_piece_nor_a_log_passes_the_fence(bench):
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="w", lease_seconds=60)
        add_chunk(session, claim, 0, b"ours")
    bench.reassign(job_id)
    with bench.sessions.begin() as session:
        add_chunk(session, claim, 4, b"late")
        joblogs.record_log(session, claim, StoredObject(key="k", bytes=8, sha256="0" * 64))
    assert (pieces(bench, job_id), stored_logs(bench, job_id)) == (b"ours", [])


def test_the_log_of_a_lost_worker_is_what_it_had_sent(bench):
    job_id = bench.submit()
    with bench.running("tell"):
        bench.wait_until(lambda: pieces(bench, job_id) == BEFORE)
        bench.reassign(job_id)
    with bench.sessions() as session:
        state = read_log(session, job_id, 1)
    assert (state.stored, state.content, state.is_over) == (None, BEFORE, False)


def test_where_the_store_is_down_the_job_ends_and_the_pieces_stay(bench, servers):
    job_id = bench.submit()
    with bench.running("tell_then_fail"):
        bench.wait_until(lambda: pieces(bench, job_id) == BEFORE)
        servers.stop("seaweedfs")
        try:
            allow(bench, job_id)
            bench.wait_for_status(job_id, JobStatus.FAILED)
        finally:
            servers.start("seaweedfs")
    assert (pieces(bench, job_id), stored_logs(bench, job_id)) == (BEFORE, [])


def test_a_log_that_cannot_be_read_costs_the_job_nothing(bench):
    job_id = bench.submit()
    with bench.running("tell"):
        bench.wait_until(lambda: pieces(bench, job_id) == BEFORE)
        log = bench.settings.attempt_dir(job_id, 1) / "child.log"
        log.unlink()
        log.mkdir()
        allow(bench, job_id)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
    assert (bench.job(job_id).attempt, stored_logs(bench, job_id)) == (1, [])


def test_deleting_a_job_removes_its_logs(bench):
    job = bench.run("tell_and_fail")
    (log,) = stored_logs(bench, job.id)
    with bench.sessions.begin() as session:
        session.add(LogChunk(job_id=job.id, attempt=1, start=0, content=b"left over"))
    with bench.sessions.begin() as session:
        assert delete_job(session, bench.owner_id, job.id)
    with bench.sessions.begin() as session:
        delete_objects(session, bench.store, limit=100)
    assert not bench.store.exists(log.object_key)
    assert (stored_logs(bench, job.id), pieces(bench, job.id)) == ([], b"")


def test_a_piece_sent_twice_is_there_once(bench):
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="w", lease_seconds=60)

    def send(_: int) -> None:
        with bench.sessions.begin() as session:
            add_chunk(session, claim, 0, b"once")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    assert pieces(bench, job_id) == b"once"
