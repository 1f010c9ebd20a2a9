"""Every line about a job says which job, which attempt, and which request made it."""

from uuid import UUID

from ladder_schema.jobs import JobStatus
from tests.observability.conftest import Running, eventually

REQUEST = "find-me"
LEASES = {"LADDER_LEASE_SECONDS": "4", "LADDER_HEARTBEAT_SECONDS": "0.1"}


def test_a_job_can_be_followed_through_all_processes_by_its_request(service, files):
    service.more = LEASES
    api, client = service.api()
    worker = service.worker("ignore_everything")
    house = service.housekeeping()
    with client:
        client._http.headers["X-Request-ID"] = REQUEST
        job = client.submit(*files)
        client._http.headers["X-Request-ID"] = "another"
        eventually(lambda: client.get(job.id).stage is not None)
        worker.process.kill()
        eventually(lambda: lost_attempts(house, job.id))
        client.cancel(job.id)
        second = service.worker("succeed")
        assert second.process.poll() is None

    named = {"job": str(job.id), "request_id": REQUEST}
    (queued,) = api.said("job_queued")
    assert named.items() <= queued.items()
    (posted,) = [line for line in api.said("request") if (line["method"], line["path"]) == ("POST", "/jobs")]
    assert posted["request_id"] == REQUEST
    assert {line["job"] for line in api.said("request") if str(job.id) in line["path"]} == {str(job.id)}

    about = [line for line in worker.lines() if line["logger"].startswith("worker") and "job" in line]
    assert {"attempt_started", "child_started"} <= {line["event"] for line in about}
    assert all((named | {"attempt": 1}).items() <= line.items() for line in about)
    (lost,) = lost_attempts(house, job.id)
    assert (named | {"attempt": 1, "status": JobStatus.QUEUED}).items() <= lost.items()
    assert lost["worker"].startswith(service.queue)


def lost_attempts(house: Running, job: UUID) -> list[dict]:
    """Housekeeping sweeps every job of the database, other tests' too."""
    return [line for line in house.said("attempt_lost") if line["job"] == str(job)]


def test_a_heartbeats_line_names_the_job_too(service, files, servers):
    """It comes from a thread of its own."""
    service.more = {"LADDER_HEARTBEAT_SECONDS": "0.1"}
    _, client = service.api()
    worker = service.worker("ignore_everything")
    with client:
        client._http.headers["X-Request-ID"] = REQUEST
        job = client.submit(*files)
        eventually(lambda: client.get(job.id).stage is not None)
        servers.stop("postgres")
        try:
            eventually(lambda: worker.said("heartbeat_failed"))
        finally:
            servers.start("postgres")
    line = worker.said("heartbeat_failed")[0]
    assert {"job": str(job.id), "attempt": 1, "request_id": REQUEST}.items() <= line.items()


def test_a_deleted_jobs_objects_are_named(service, files):
    _, client = service.api()
    worker = service.worker("fail")
    with client:
        job = client.submit(*files)
        eventually(lambda: client.get(job.id).status.is_final)
        client.delete(job.id)
    house = service.housekeeping()
    eventually(lambda: f"jobs/{job.id}/" in {line["key"] for line in house.said("object_deleted")})
    assert worker.said("attempt_ended")
