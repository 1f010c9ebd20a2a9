"""Whole workers, as processes of their own: woken by the broker, killed, stopped, raced."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ladder_jobs.states import Outcome
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeup_waits
from ladder_schema.jobs import JobStatus

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(bench, tmp_path) -> Iterator[Start]:
    """Starts processes; those that still run at the end of the test are killed."""
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
def start_housekeeping(start) -> Callable[[], "subprocess.Popen[bytes]"]:
    return lambda: start("-m", "worker", "housekeeping")


def test_a_wake_up_is_enough(bench, start_worker):
    start_worker("succeed")
    job_id = bench.submit()
    send_wakeup(celery_app(bench.settings), bench.queue)
    bench.wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED)


def test_a_lost_wake_up_is_sent_again(bench, start_worker, start_housekeeping):
    start_worker("succeed")
    job_id = bench.submit()
    start_housekeeping()
    bench.wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED)


def test_wake_ups_do_not_pile_up(bench, start_housekeeping):
    """No worker takes them, and jobs stay queued: one is enough, however often housekeeping looks."""
    app = celery_app(bench.settings)
    bench.submit()
    house = start_housekeeping()
    bench.wait_until(lambda: wakeup_waits(app, bench.queue))
    later = bench.submit()
    bench.wait_until(lambda: bench.sweeps(house) >= 5)
    assert bench.messages(app) == 1
    assert bench.job(later).status is JobStatus.QUEUED


def test_duplicate_wake_ups_are_harmless(bench, start_worker):
    app = celery_app(bench.settings)
    for _ in range(5):
        send_wakeup(app, bench.queue)
    start_worker("succeed")
    start_worker("succeed")
    jobs = [bench.submit() for _ in range(3)]
    for _ in range(5):
        send_wakeup(app, bench.queue)
    bench.wait_until(lambda: all(bench.job(job_id).status is JobStatus.SUCCEEDED for job_id in jobs))
    assert [len(bench.attempts(job_id)) for job_id in jobs] == [1, 1, 1]


def test_a_killed_worker_is_replaced_by_another(bench, start_worker, start_housekeeping):
    bench.settings = bench.settings.model_copy(update={"lease_seconds": 1.0})
    worker = start_worker("ignore_everything")
    job_id = bench.submit()
    send_wakeup(celery_app(bench.settings), bench.queue)
    bench.wait_for_stage(job_id)
    (child,) = bench.child_pids(job_id)

    worker.kill()
    bench.wait_until(lambda: not bench.is_alive(child), seconds=2)
    start_worker("succeed")
    start_housekeeping()
    bench.wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED)
    assert [a.outcome for a in bench.attempts(job_id)] == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]


@pytest.mark.parametrize("behaviour", ["sleep_until_told", "ignore_everything"])
def test_a_stopped_worker_hands_its_job_over_at_once(bench, start_worker, behaviour):
    worker = start_worker(behaviour)
    job_id = bench.submit()
    app = celery_app(bench.settings)
    send_wakeup(app, bench.queue)
    bench.wait_for_stage(job_id)

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    assert bench.job(job_id).status is JobStatus.QUEUED
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.RELEASED]

    start_worker("succeed")
    send_wakeup(app, bench.queue)
    bench.wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED)


def test_an_idle_worker_stops_at_once(start_worker, bench):
    worker = start_worker("succeed")
    job_id = bench.submit()
    send_wakeup(celery_app(bench.settings), bench.queue)
    bench.wait_until(lambda: bench.job(job_id).status is JobStatus.SUCCEEDED)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0


def test_housekeeping_stops_at_once(bench, start_housekeeping):
    bench.submit()
    house = start_housekeeping()
    bench.wait_until(lambda: wakeup_waits(celery_app(bench.settings), bench.queue))
    house.send_signal(signal.SIGTERM)
    assert house.wait(timeout=10) == 0
