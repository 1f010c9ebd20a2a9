"""What a child reported reaches its job's history, whoever writes it; heartbeats do not end unnoticed."""

import structlog

from ladder_jobs.claims import claim_job, settle_succeeded
from ladder_jobs.states import EventKind, Outcome
from ladder_schema.jobs import JobStatus, Stage
from tests.worker.checks import Fault
from worker.joblog import Growth
from worker.lease import Lease


def test_what_no_heartbeat_carried_is_written_when_the_job_is_settled(bench):
    """No thread is started: the job ends between two heartbeats."""
    job_id = bench.submit()
    with bench.sessions.begin() as session:
        claim = claim_job(session, queue=bench.queue, worker="tester", lease_seconds=60.0)
    lease = Lease(bench.sessions, claim, bench.settings)
    for stage in (Stage.EVALUATE, Stage.REPORT):
        lease.report(stage, 0.9)
    for end in (lambda session: None, lambda session: settle_succeeded(session, claim, [])):
        with bench.sessions.begin() as session:  # twice: the first commit's answer may have been lost
            lease.write_pending(session)
            end(session)
    stages = [event.stage for event in bench.events(job_id) if event.kind is EventKind.STAGE]
    assert stages == [Stage.EVALUATE, Stage.REPORT]


def test_a_job_whose_heartbeats_end_is_given_back_at_once(bench, monkeypatch):
    """By a lease that would hold it for minutes more; the next attempt has heartbeats of its own."""
    faults = [Fault()]

    def confirm_or_break(growth):
        if bench.child_pids(job_id) and faults:
            raise faults.pop()
        confirm(growth)

    confirm = Growth.confirm
    monkeypatch.setattr(Growth, "confirm", confirm_or_break)
    job_id = bench.submit()
    runner = bench.runner("succeed_at_second_attempt", lease_seconds=600.0)

    def has_succeeded():
        runner.run_queued_jobs(bench.queue)  # nothing while the job's pause lasts
        return bench.job(job_id).status is JobStatus.SUCCEEDED

    with structlog.testing.capture_logs() as logs:
        bench.wait_until(has_succeeded)
    (line,) = [line for line in logs if line["event"] == "heartbeats_ended"]
    assert (line["log_level"], line["exc_info"]) == ("error", True)
    first, last = bench.attempts(job_id)
    assert (first.outcome, last.outcome) == (Outcome.RELEASED, Outcome.SUCCEEDED)
    assert first.error == "its worker met an outage: it could not renew its lease any more"
