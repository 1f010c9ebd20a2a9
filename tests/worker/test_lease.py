"""What a child reported reaches its job's history, whoever writes it."""

from ladder_jobs.claims import claim_job, settle_succeeded
from ladder_jobs.states import EventKind
from ladder_schema.jobs import Stage
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
