"""Results: the right bytes under the right headers, and pages that can do nothing."""

import hashlib
from datetime import timedelta
from uuid import UUID

import pytest
from posting import ARTIFACTS, assert_problem
from sqlalchemy import func, update

from api.app import create_app
from api.jobs.downloads import prefers_html
from ladder_jobs.retention import Retention, expire
from ladder_jobs.tables import Job
from ladder_schema.jobs import ArtifactName, JobStatus, JobView
from ladder_schema.report.schema import committed


@pytest.fixture
def job(account) -> str:
    job_id = account.new_job()
    account.succeed(account.claim())
    return f"/jobs/{job_id}"


@pytest.mark.parametrize("name", ARTIFACTS)
def test_each_result_is_where_the_job_says(account, job, name):
    filename, content, media_type = ARTIFACTS[name]
    view = {a["name"]: a for a in account.http.get(job).json()["artifacts"]}[name]
    answer = account.http.get(view["href"])
    digest = hashlib.sha256(content).hexdigest()
    assert answer.status_code == 200
    assert answer.content == content
    assert (view["bytes"], view["sha256"], view["media_type"]) == (len(content), digest, media_type)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'-{filename}"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("path", ["", "/events", *(f"/{name}" for name in ARTIFACTS)])
def test_head_answers_as_get_does_without_the_body(account, new_account, job, path):
    whole, head = account.http.get(job + path), account.http.head(job + path, headers={"Range": "bytes=0-3"})
    assert (head.status_code, head.content) == (200, b"")
    for answer in (whole, head):
        del answer.headers["date"], answer.headers["x-request-id"]
    assert head.headers == whole.headers
    assert new_account().http.head(job + path).status_code == 404
    etag = whole.headers.get("etag")
    if etag:
        assert account.http.head(job + path, headers={"If-None-Match": etag}).status_code == 304


def test_head_of_the_list(account):
    assert account.http.head("/jobs").status_code == 200


@pytest.mark.parametrize("path", ["/report.html", "/report"])
def test_a_page_can_do_nothing(account, job, path):
    answer = account.http.get(job + path, headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("text/*", True),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/json;q=0.9", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        (";;;,,,", False),
    ],
)
def test_the_report_is_json_unless_html_is_preferred(account, job, accept, html):
    answer = account.http.get(f"{job}/report", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/html" if html else "application/json")
    assert answer.headers["vary"] == "Accept"
    assert prefers_html(accept) is html


def test_what_the_caller_has_is_not_sent_again(account, job):
    etag = account.http.get(f"{job}/model").headers["etag"]
    for tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = account.http.get(f"{job}/model", headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert account.http.get(f"{job}/model", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "got", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=9-9", b"9", "bytes 9-9/10"),
    ],
)
def test_a_download_can_be_resumed(account, job, wanted, got, content_range):
    answer = account.http.get(f"{job}/weights", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, got)
    assert answer.headers["content-range"] == content_range


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(account, job, wanted):
    answer = account.http.get(f"{job}/weights", headers={"Range": wanted})
    assert_problem(answer, 416)
    assert answer.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=5-3"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-1,4-5"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-3", "If-Range": '"another version"'},
    ],
)
def test_a_range_that_means_nothing_here_gets_the_whole_file(account, job, headers):
    answer = account.http.get(f"{job}/weights", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize("status", ["queued", "running", "cancelled"])
@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_job_that_has_not_succeeded_has_no_results(account, status, name):
    path = f"/jobs/{account.new_job()}"
    if status == "running":
        account.claim()
    elif status == "cancelled":
        account.http.post(f"{path}/cancel")
    problem = assert_problem(account.http.get(f"{path}/{name}"), 409)
    assert status in problem["detail"]


def test_a_result_whose_object_is_gone_is_an_outage_and_no_half_answer(account, job):
    claim_prefix = f"jobs/{UUID(job.rpartition('/')[2])}/"
    for key in list(account.store.list_keys(claim_prefix)):
        account.store.delete(key)
    assert_problem(account.http.get(f"{job}/{ArtifactName.MODEL}"), 503)


@pytest.fixture
def keeping(elsewhere, new_account, serve):
    """An account at an API that keeps results for a day, and where its one finished job is."""
    account = new_account(serve(create_app(elsewhere(artifact_retention_days=1.0))))
    path = f"/jobs/{account.new_job()}"
    account.succeed(account.claim())
    return account, path


def test_a_job_tells_when_its_results_expire(keeping, account, job):
    keeper, path = keeping
    view = JobView.model_validate_json(keeper.http.get(path).content)
    assert view.expires_at == view.finished_at + timedelta(days=1)
    assert view.expired_at is None
    kept = account.http.get(job).json()
    assert (kept["expires_at"], kept["expired_at"]) == (None, None), "without a policy"
    queued = keeper.http.get(f"/jobs/{keeper.new_job()}").json()
    assert queued["expires_at"] is None


@pytest.mark.parametrize("name", ARTIFACTS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_results_that_have_expired_are_gone_and_the_job_says_so(keeping, sessions, name, method):
    account, path = keeping
    with sessions.begin() as session:
        earlier = func.now() - timedelta(days=2)
        job_id = UUID(path.rpartition("/")[2])
        session.execute(update(Job).where(Job.id == job_id).values(finished_at=earlier))
        expire(session, Retention(artifacts=timedelta(days=1)), limit=100)
    view = JobView.model_validate_json(account.http.get(path).content)
    assert view.status is JobStatus.SUCCEEDED
    assert view.artifacts == ()
    assert view.expired_at is not None
    assert view.expired_at > view.expires_at
    answer = account.http.request(method, f"{path}/{name}")
    assert answer.status_code == 410
    if method == "GET":
        detail = assert_problem(answer, 410)["detail"]
        assert f"removed at {view.expired_at:%Y-%m-%d %H:%M} UTC" in detail
        assert "post the job again" in detail
    assert account.http.get(f"{path}/events").status_code == 200


def test_anybody_may_have_the_schema_of_reports(anonymous):
    answer = anonymous.get("/schemas/report.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/schema+json")
    assert answer.text == committed()


def test_a_pdf_is_shown_and_a_card_is_saved(account, job):
    shown = {
        path: account.http.get(job + path).headers["content-disposition"].split(";")[0]
        for path in ("/report.pdf", "/model-card")
    }
    assert shown == {"/report.pdf": "inline", "/model-card": "attachment"}
