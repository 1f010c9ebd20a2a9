"""Watching, listing and cancelling jobs, each owner its own."""

from uuid import UUID, uuid4

import pytest
from posting import assert_problem
from sqlalchemy import update

from ladder_jobs.tables import Job
from ladder_schema.config import LadderConfig
from ladder_schema.jobs import JobPage


def test_a_job_tells_its_history(account):
    job_id = account.new_job()
    claim = account.claim()
    account.succeed(claim)
    job = account.http.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["progress"]) == ("succeeded", 1.0)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    events = account.http.get(f"/jobs/{job_id}/events").json()["items"]
    assert [event["kind"] for event in events] == ["created", "claimed", "succeeded"]


def test_a_history_is_paged(account):
    job_id = account.new_job()
    account.succeed(account.claim())
    path, kinds, sizes = f"/jobs/{job_id}/events?limit=2", [], []
    while path:
        page = account.http.get(path).json()
        kinds += [event["kind"] for event in page["items"]]
        sizes.append(len(page["items"]))
        path = page["next"]
    assert (kinds, sizes) == (["created", "claimed", "succeeded"], [2, 1])
    past = account.http.get(f"/jobs/{job_id}/events", params={"after": 2**63 - 1})
    assert past.json() == {"items": [], "next": None}
    assert_problem(account.http.get(f"/jobs/{uuid4()}/events?after=1"), 404)
    for query in ("limit=0", "limit=1001", "after=-1", "after=9223372036854775808", "after=x"):
        assert_problem(account.http.get(f"/jobs/{job_id}/events?{query}"), 422)


def test_pages_link_to_the_next(account):
    ids = [account.new_job() for _ in range(5)]
    seen, path, pages = [], "/jobs?limit=2", 0
    while path:
        page = account.http.get(path).json()
        seen += [job["id"] for job in page["items"]]
        path, pages = page["next"], pages + 1
    assert seen == ids[::-1]
    assert pages == 3


@pytest.mark.parametrize(
    "stored", [{"schema_version": 0, "method": "ladder"}, {"schema_version": 2, "method": "new", "x": [1]}]
)
def test_a_config_of_another_version_is_shown_as_it_was_stored(account, sessions, stored):
    job_id, other = account.new_job(), account.new_job()
    with sessions.begin() as session:
        changes = {"config": stored, "config_version": stored["schema_version"]}
        session.execute(update(Job).where(Job.id == UUID(job_id)).values(**changes))
    answer = account.http.get("/jobs")
    assert answer.status_code == 200
    shown = {job["id"]: job["config"] for job in answer.json()["items"]}
    assert shown[job_id] == stored
    assert account.http.get(f"/jobs/{job_id}").json()["config"] == stored
    assert account.http.post(f"/jobs/{job_id}/cancel").json()["config"] == stored
    configs = {str(job.id): job.config for job in JobPage.model_validate_json(answer.content).items}
    assert configs[job_id] == stored
    assert isinstance(configs[other], LadderConfig)


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "MjAyNg", "A" * 150])
def test_a_cursor_of_ones_own_making_is_refused(account, cursor):
    assert_problem(account.http.get("/jobs", params={"after": cursor}), 400)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=" + "A" * 300])
def test_paging_has_bounds(account, query):
    (error,) = assert_problem(account.http.get(f"/jobs?{query}"), 422)["errors"]
    assert error["field"].startswith("query.")


def test_a_queued_job_is_cancelled_at_once_however_often_one_asks(account):
    path = f"/jobs/{account.new_job()}/cancel"
    for _ in range(2):
        answer = account.http.post(path)
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")


def test_a_running_job_is_asked_to_stop_as_often_as_one_likes(account):
    path = f"/jobs/{account.new_job()}/cancel"
    account.claim()
    for _ in range(2):
        answer = account.http.post(path)
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")


JOB_PATHS = [
    "", "/events", "/model", "/weights", "/examples", "/report", "/report.html", "/report.pdf", "/model-card",
]  # fmt: skip


@pytest.mark.parametrize("path", JOB_PATHS)
def test_another_owners_job_is_an_unknown_one(account, new_account, path):
    job_id = account.new_job()
    account.succeed(account.claim())
    assert account.http.get(f"/jobs/{job_id}{path}").status_code == 200
    stranger = new_account().http
    theirs = assert_problem(stranger.get(f"/jobs/{job_id}{path}"), 404)
    unknown = assert_problem(stranger.get(f"/jobs/{uuid4()}{path}"), 404)
    for answer in (theirs, unknown):
        answer.pop("request_id")
        answer["detail"] = answer["detail"].replace(answer["instance"].split("/")[2], "ID")
        answer.pop("instance")
    assert theirs == unknown


def test_another_owners_job_cannot_be_cancelled(account, new_account):
    job_id = account.new_job()
    assert_problem(new_account().http.post(f"/jobs/{job_id}/cancel"), 404)
    assert account.http.get(f"/jobs/{job_id}").json()["status"] == "queued"
    assert new_account().http.get("/jobs").json() == {"items": [], "next": None}


@pytest.mark.parametrize("job_id", ["x", "0", "%00", "a" * 500, "..%2f..%2fetc", str(UUID(int=0)) + "0"])
def test_a_malformed_id_is_an_unknown_one(account, job_id):
    assert_problem(account.http.get(f"/jobs/{job_id}"), 404)


def test_a_job_that_has_ended_is_deleted(account, new_account):
    path = f"/jobs/{account.new_job()}"
    problem = assert_problem(account.http.delete(path), 409)
    assert f"POST {path}/cancel" in problem["detail"]
    account.http.post(f"{path}/cancel")
    assert_problem(new_account().http.delete(path), 404)
    answer = account.http.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for again in (account.http.get(path), account.http.delete(path)):
        assert_problem(again, 404)
    assert account.http.get("/jobs").json()["items"] == []
