"""Machines whose clocks are wrong: every time that decides anything is Postgres' own."""

import json
from datetime import UTC, datetime, timedelta
from importlib.metadata import files

import pytest

from ladder_jobs.states import Outcome
from ladder_schema.jobs import JobStatus
from tests.crash.checks import assert_published_once, outcomes

# S3 takes no request that was signed more than 15 minutes before or after.
MINUTES = (-12, 12)
HOURS = (-180, 180)


def skewed(minutes):
    """The environment of a program whose clock is off by minutes, and otherwise runs well."""
    library = next(file for file in files("libfaketime") if file.name == "libfaketime.so.1").locate()
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{minutes:+d}m",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }


def assert_skewed(fleet, process, minutes):
    """By the clock of its own log."""
    last = [line for line in fleet.log(process).splitlines() if line.startswith("{")][-1]
    clock = datetime.fromisoformat(json.loads(last)["timestamp"])
    assert abs(clock - datetime.now(UTC) - timedelta(minutes=minutes)) < timedelta(minutes=4)


@pytest.mark.parametrize("minutes", MINUTES)
def test_a_worker_whose_clock_is_minutes_off_runs_its_job(bench, fleet, minutes, tmp_path):
    fleet.housekeeper()
    worker = fleet.worker("succeed", environment=skewed(minutes))
    job_id = bench.submit()
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_skewed(fleet, worker, minutes)
    assert_published_once(bench, job_id, tmp_path)
    assert len(bench.attempts(job_id)) == 1


@pytest.mark.parametrize("minutes", HOURS)
def test_a_worker_whose_clock_is_hours_off_hands_its_job_on(bench, fleet, minutes, tmp_path):
    """The object store refuses what it signs: it gives back what it has claimed, and claims nothing more."""
    fleet.housekeeper()
    worker = fleet.worker("succeed", environment=skewed(minutes))
    job_id = bench.submit()
    bench.wait_until(lambda: fleet.log(worker).count("worker_unfit") > 2)
    assert "this machine's clock says 20" in fleet.log(worker)
    assert outcomes(bench, job_id) == [Outcome.RELEASED]
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_skewed(fleet, worker, minutes)
    assert_published_once(bench, job_id, tmp_path)
    first, last = bench.attempts(job_id)
    assert (first.outcome, bench.job(job_id).outages) == (Outcome.RELEASED, 0)
    assert "this machine's clock says 20" in first.error
    assert last.worker != first.worker


@pytest.mark.parametrize("minutes", HOURS)
def test_a_sweeper_whose_clock_is_hours_off_ends_the_leases_that_have_expired(
    bench, fleet, minutes, tmp_path
):
    """And no other: the second attempt, with a lease of its own, is left to succeed."""
    bench.configure(lease_seconds=4.0)
    sweeper = fleet.housekeeper(environment=skewed(minutes))
    fleet.worker("ignore_everything")
    job_id = bench.submit()
    bench.wait_for_stage(job_id)
    fleet.kill_worker(job_id, with_child=True)
    fleet.worker("succeed")
    bench.wait_for_status(job_id, JobStatus.SUCCEEDED)
    assert_skewed(fleet, sweeper, minutes)
    assert_published_once(bench, job_id, tmp_path)
    assert outcomes(bench, job_id) == [Outcome.WORKER_LOST, Outcome.SUCCEEDED]
