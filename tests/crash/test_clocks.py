"""Machines whose clocks are hours off: every time that decides anything is Postgres' own."""

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import files

import pytest

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus
from tests.crash.checks import assert_published_once

HOURS = 3


@pytest.fixture(params=[-HOURS, HOURS], ids=["slow", "fast"])
def skewed(request):
    """The environment of a program whose clock is off by hours, and otherwise runs well."""
    library = next(file for file in files("libfaketime") if file.name == "libfaketime.so.1").locate()
    return request.param, {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{request.param:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }


def assert_skewed(fleet, process, hours):
    """By the clock of its own logs."""
    said = next(line for line in fleet.log(process).splitlines() if line.startswith("{"))
    clock = datetime.fromisoformat(json.loads(said)["timestamp"])
    assert abs(clock - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=10)


def test_a_worker_with_a_wrong_clock_runs_its_job(bench, fleet, skewed, tmp_path):
    hours, environment = skewed
    fleet.housekeeper()
    worker = fleet.worker("succeed_when_allowed", environment=environment)
    job_id = bench.submit()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_skewed(fleet, worker, hours)
    assert_published_once(bench, job_id, tmp_path)
    assert len(bench.attempts(job_id)) == 1


def test_a_sweeper_with_a_wrong_clock_ends_no_lease_that_is_good_and_every_other(
    bench, fleet, skewed, tmp_path
):
    """Here the worker is lost whose clock is right."""
    hours, environment = skewed
    bench.configure(lease_seconds=2.0)
    sweeper = fleet.housekeeper(environment=environment)
    fleet.worker("ignore_everything")
    job_id = bench.submit()
    bench.wait_for_stage(job_id)
    fleet.kill_worker(job_id, with_child=True)
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_skewed(fleet, sweeper, hours)
    assert_published_once(bench, job_id, tmp_path)
    assert [attempt.outcome for attempt in bench.attempts(job_id)] == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]
