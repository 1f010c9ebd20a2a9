"""The real pipeline, killed at the beginning of every stage and in the middle of the long ones."""

import os
import signal

import pytest

from ladder_jobs.states import EventKind, Outcome
from ladder_schema.jobs import ArtifactName, JobStatus, Stage
from tests.crash.checks import assert_hardened, assert_published_once, outcomes

STAGE_SECONDS = 120.0


def wait_for_stage(bench, job_id, attempt, stage):
    """Wait until an attempt has begun a stage."""

    def has_begun():
        return any(
            (event.kind, event.attempt, event.stage) == (EventKind.STAGE, attempt, stage)
            for event in bench.events(job_id)
        )

    bench.wait_until(has_begun, STAGE_SECONDS)


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


@pytest.mark.timeout(600)
def test_a_job_survives_the_death_of_its_child_mid_stage(bench, fleet, digits, tmp_path):
    """As often as no job may lose its child in production, and it is the same worker that goes on."""
    stages = (Stage.BOUNDARY, Stage.GENERATOR, Stage.RETRAIN, Stage.EVALUATE)
    bench.configure(max_child_deaths=len(stages) + 1)
    fleet.housekeeper()
    fleet.worker()
    job_id = digits.submit()
    for attempt, stage in enumerate(stages, start=1):
        wait_for_middle(bench, job_id, attempt, stage)
        child = bench.child_pid(job_id)
        os.kill(child, signal.SIGKILL)
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    files = assert_published_once(bench, job_id, tmp_path)
    assert_hardened(files[ArtifactName.MODEL])
    assert outcomes(bench, job_id) == [Outcome.CHILD_DIED] * len(stages) + [Outcome.SUCCEEDED]
