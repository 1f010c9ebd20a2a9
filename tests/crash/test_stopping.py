"""A worker that is stopped in the middle of a training: the next one goes on from where it was."""

import signal

import pytest
from sqlalchemy import select

from ladder_jobs.states import Outcome
from ladder_jobs.tables import Checkpoint
from ladder_schema.jobs import ArtifactName, JobStatus, Stage
from ladder_schema.protocol import CheckpointName
from ladder_schema.report import Report
from tests.crash.checks import assert_published_once
from tests.crash.test_stages import wait_for_middle

LONG_TRAINING = {"retraining": {"epochs": 60}}
HANDED_OVER_SECONDS = 5.0


def checkpoints(bench, job_id):
    """Which attempt left each."""
    with bench.sessions() as session:
        rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id))
        return {row.name: row.attempt for row in rows}


def without_times(path):
    return Report.model_validate_json(path.read_bytes()).model_dump(exclude={"created_at", "stage_seconds"})


@pytest.mark.timeout(600)
def test_a_stopped_training_is_resumed_and_ends_as_if_it_had_not_been(bench, fleet, digits, tmp_path):
    fleet.housekeeper()
    bench.configure(shutdown_grace_seconds=15.0)
    workers = [fleet.worker(), fleet.worker()]
    whole = digits.submit(**LONG_TRAINING)
    bench.wait_for_status(whole, JobStatus.SUCCEEDED)
    stopped = digits.submit(**LONG_TRAINING)
    wait_for_middle(bench, stopped, 1, Stage.RETRAIN)
    holder = next(worker for worker in workers if worker.pid == fleet.worker_of(stopped))
    holder.send_signal(signal.SIGTERM)
    bench.wait_until(lambda: bench.job(stopped).attempt == 2)
    assert checkpoints(bench, stopped)[CheckpointName.RETRAIN] == 1
    assert holder.wait(timeout=20) == 0
    bench.wait_for_status(stopped, JobStatus.SUCCEEDED)
    released, succeeded = bench.attempts(stopped)
    assert (released.outcome, succeeded.outcome) == (Outcome.RELEASED, Outcome.SUCCEEDED)
    assert (succeeded.started_at - released.ended_at).total_seconds() <= HANDED_OVER_SECONDS
    files = [assert_published_once(bench, job_id, tmp_path) for job_id in (whole, stopped)]
    expected, found = (without_times(results[ArtifactName.REPORT]) for results in files)
    assert found == expected
    weights = [results[ArtifactName.WEIGHTS].read_bytes() for results in files]
    assert weights[0] == weights[1]
