"""The real pipeline, killed at the beginning of every stage and in the middle of it."""

import os
import signal
from contextlib import contextmanager

import pytest

from ladder_jobs.states import EventKind, Outcome
from ladder_schema.jobs import ArtifactName, JobStatus, Stage
from tests.crash.checks import assert_hardened, assert_published_once, outcomes
from tests.crash.holding import WRITTEN, held_in_stage

STAGE_SECONDS = 120.0


def stages_begun(bench, job_id):
    """Attempts and the stages they began, in order."""
    return [(event.attempt, event.stage) for event in bench.events(job_id) if event.kind is EventKind.STAGE]


def wait_for_stage(bench, job_id, attempt, stage):
    """Wait until an attempt has begun a stage."""
    bench.wait_until(lambda: (attempt, stage) in stages_begun(bench, job_id), STAGE_SECONDS)


@contextmanager
def in_the_middle(bench, job_id, attempt, stage):
    """An attempt has got on within a stage, and has not ended it."""
    if stage in WRITTEN:
        with held_in_stage(bench, job_id, attempt, stage):
            wait_for_stage(bench, job_id, attempt, stage)
            yield
    else:
        wait_for_middle(bench, job_id, attempt, stage)
        yield


def wait_for_middle(bench, job_id, attempt, stage):
    """Wait until an attempt has got on within a stage."""
    seen = set()

    def has_moved():
        job = bench.job(job_id)
        if (job.attempt, job.stage) == (attempt, stage):
            seen.add(job.progress)
        return len(seen) > 1

    bench.wait_until(has_moved, STAGE_SECONDS)


@pytest.mark.timeout(900)
def test_a_job_survives_the_loss_of_its_worker_at_every_stage(bench, fleet, digits, tmp_path):
    """In turn, the worker alone is killed, whose child then dies of it, and both at once."""
    bench.configure(lease_seconds=4.0)
    fleet.housekeeper()
    fleet.worker()
    fleet.worker()
    job_id = digits.submit()
    for attempt, stage in enumerate(Stage, start=1):
        wait_for_stage(bench, job_id, attempt, stage)
        child = bench.child_pid(job_id)
        fleet.kill_worker(job_id, with_child=attempt % 2 == 0)
        bench.wait_until(lambda child=child: not bench.is_alive(child), seconds=5)
        fleet.worker()  # in place of the one that was killed, as whoever runs the service would have it
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    files = assert_published_once(bench, job_id, tmp_path)
    assert_hardened(files[ArtifactName.MODEL])
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST] * len(Stage) + [Outcome.SUCCEEDED]


@pytest.mark.timeout(900)
def test_a_job_survives_the_death_of_child_and_worker_in_the_middle_of_every_stage(
    bench, fleet, digits, tmp_path
):
    """Of one attempt the child, of the next the worker, whose child then dies of it; and so in each stage.

    But for the examples, which retraining makes anew in each epoch: their stage has no middle.
    """
    stages = [stage for stage in Stage if stage is not Stage.EXAMPLES]
    bench.configure(lease_seconds=4.0, max_child_deaths=len(stages) + 1)
    fleet.housekeeper()
    fleet.worker()
    fleet.worker()
    job_id = digits.submit()
    victims = [(stage, victim) for stage in stages for victim in ("child", "worker")]
    for attempt, (stage, victim) in enumerate(victims, start=1):
        bench.wait_until(lambda attempt=attempt: bench.job(job_id).attempt == attempt)
        with in_the_middle(bench, job_id, attempt, stage):
            child = bench.child_pid(job_id, attempt)
            if victim == "child":
                os.kill(child, signal.SIGKILL)
            else:
                fleet.kill_worker(job_id, with_child=False)
            bench.wait_until(lambda child=child: not bench.is_alive(child), seconds=5)
        if victim == "worker":
            fleet.worker()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    files = assert_published_once(bench, job_id, tmp_path)
    assert_hardened(files[ArtifactName.MODEL])
    ended = [Outcome.CHILD_DIED, Outcome.WORKER_LOST] * len(stages)
    assert outcomes(bench, job_id) == [*ended, Outcome.SUCCEEDED]
    last = dict(stages_begun(bench, job_id))
    assert [last[attempt] for attempt in range(1, len(victims) + 1)] == [stage for stage, _ in victims]
