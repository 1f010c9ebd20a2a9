"""Whole workers, as processes of their own: woken by the broker, cut off from it, stopped, killed, raced."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ladder_jobs.states import Outcome
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeups_waiting
from ladder_schema.jobs import JobStatus
from worker.housekeeping import tidy

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(bench, tmp_path) -> Iterator[Start]:
    """Starts processes; those that still run at the end of the test are killed, and all logs shown."""
    started = []

    def run(*command: str) -> subprocess.Popen[bytes]:
        log = tmp_path / f"process-{len(started)}.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *command], env=bench.environment(), stdout=stderr, stderr=stderr
            )
        started.append((process, log))
        return process

    yield run
    for process, log in started:
        process.kill()
        process.wait()
        sys.stdout.write(f"--- {process.args}\n{log.read_text()}")


@pytest.fixture
def start_worker(bench, start) -> Callable[[str], "subprocess.Popen[bytes]"]:
    script = str(Path(__file__).with_name("worker_process.py"))
    return lambda behaviour: start(script, bench.queue, behaviour)


@pytest.fixture
def app(bench):
    return celery_app(bench.settings)


def test_a_lost_wake_up_is_sent_again(bench, start, start_worker):
    """Nobody woke the worker when the job was queued. Idle, both processes stop when told."""
    worker = start_worker("succeed")
    job_id = bench.submit()
    house = start("-m", "worker", "housekeeping")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    for process in (worker, house):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_wake_ups_do_not_pile_up(bench, app):
    """No worker takes them, and jobs stay queued: one each is enough, however often they are looked at."""
    bench.submit()
    bench.submit()
    for _ in range(3):
        tidy(bench.sessions, app, bench.settings)
    assert wakeups_waiting(app, bench.queue) == 2


def test_one_sweep_wakes_a_worker_for_each_job(bench, app, start_worker):
    """Jobs whose wake-ups all got lost, and idle workers: none waits for a sweep of its own."""
    for _ in range(2):
        start_worker("succeed_when_allowed")
    jobs = [bench.submit(model=b"wait") for _ in range(2)]
    tidy(bench.sessions, app, bench.settings)
    for job_id in jobs:  # neither ends before it is allowed to, so both run at once
        bench.wait_for_stage(job_id)
    for job_id in jobs:
        child = bench.child_pid(job_id)
        os.kill(child, signal.SIGUSR1)
    for job_id in jobs:
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)


def test_duplicate_wake_ups_are_harmless(bench, app, start_worker):
    start_worker("succeed")
    start_worker("succeed")
    jobs = [bench.submit() for _ in range(4)]
    for _ in range(10):
        send_wakeup(app, bench.queue)
    for job_id in jobs:
        bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    bench.wait_until(lambda: not wakeups_waiting(app, bench.queue))
    assert [len(bench.attempts(job_id)) for job_id in jobs] == [1, 1, 1, 1]


def test_a_killed_worker_is_replaced_by_another(bench, app, start_worker):
    bench.configure(lease_seconds=3.0)
    worker = start_worker("ignore_everything")
    job_id = bench.submit()
    send_wakeup(app, bench.queue)
    bench.wait_for_stage(job_id)
    child = bench.child_pid(job_id)

    worker.kill()
    bench.wait_until(lambda: not bench.is_alive(child), seconds=5)

    def is_swept() -> bool:
        tidy(bench.sessions, app, bench.settings)
        return bench.job(job_id).status is JobStatus.QUEUED

    bench.wait_until(is_swept)
    bench.runner("succeed").run_queued_jobs(bench.queue)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
    assert [a.outcome for a in bench.attempts(job_id)] == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


def test_a_stopped_worker_hands_its_job_over_at_once(bench, app, start_worker):
    worker = start_worker("ignore_everything")
    job_id = bench.submit()
    send_wakeup(app, bench.queue)
    bench.wait_for_stage(job_id)

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    assert bench.child_pids(job_id) == []
    bench.runner("succeed").run_queued_jobs(bench.queue)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED
    assert [a.outcome for a in bench.attempts(job_id)] == [Outcome.RELEASED, Outcome.SUCCEEDED]


def test_a_worker_whose_files_are_another_versions_ends(bench, app, start_worker):
    """It gives its job back for others, and whoever restarts it starts what is there now."""
    worker = start_worker("speak_a_later_version")
    job_id = bench.submit()
    send_wakeup(app, bench.queue)
    assert worker.wait(timeout=60) == 1
    job = bench.job(job_id)
    assert (job.status, job.attempt, job.outages, job.child_deaths) == (JobStatus.QUEUED, 1, 0, 0)
    bench.runner("succeed").run_queued_jobs(bench.queue)
    assert bench.job(job_id).status is JobStatus.SUCCEEDED


def test_a_lost_broker_stops_neither_jobs_nor_workers_nor_sweeps(bench, app, servers, start_worker):
    start_worker("succeed_when_allowed")
    first = bench.submit(model=b"wait")
    send_wakeup(app, bench.queue)
    bench.wait_for_stage(first)

    servers.stop("valkey")
    lost = bench.submit()
    bench.claim_and_vanish()
    tidy(bench.sessions, app, bench.settings)
    assert bench.job(lost).status is JobStatus.QUEUED
    child = bench.child_pid(first)
    os.kill(child, signal.SIGUSR1)
    bench.wait_for_status(first, JobStatus.SUCCEEDED)
    bench.wait_for_status(lost, JobStatus.SUCCEEDED)
    servers.start("valkey")

    second = bench.submit()
    bench.wait_until(lambda: send_wakeup(app, bench.queue))
    bench.wait_for_status(second, JobStatus.SUCCEEDED)
    assert [len(bench.attempts(job_id)) for job_id in (first, lost, second)] == [1, 2, 1]
