"""What the client does when the service is slow, gone, wrong or hostile; the service here is a function."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from ladder_client import (
    Client,
    CorruptedDownloadError,
    JobCancelled,
    JobFailed,
    NotFoundError,
    RejectedError,
    ServerFaultError,
    UnauthorizedError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import ArtifactName, JobStatus, JobView

JOB = UUID("0190b5a0-0000-7000-8000-000000000001")
Answer = httpx.Response | Exception


def job(status: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": str(JOB),
        "status": status,
        "created_at": "2026-01-01T00:00:00Z",
        "config": {"method": "ladder"},
        **more,
    }


def artifact(content: bytes, **more: Any) -> dict[str, Any]:
    return {
        "name": "model",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": "application/octet-stream",
        "href": f"/jobs/{JOB}/model",
        **more,
    }


def scripted(*answers: Answer, patience: float = 5.0) -> tuple[Client, list[httpx.Request]]:
    """A client of a service that gives these answers, one a request, and the requests it got."""
    script: Iterator[Answer] = iter(answers)
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        given = next(script)
        if isinstance(given, Exception):
            raise given
        return given

    transport = httpx.MockTransport(answer)
    return Client("http://service/api", "key", patience=patience, transport=transport), requests


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, dataset = tmp_path / "model.pt", tmp_path / "data.npz"
    model.write_bytes(b"the model")
    dataset.write_bytes(b"the dataset")
    return model, dataset


def test_a_submission_carries_files_configuration_and_key(files: tuple[Path, Path]) -> None:
    client, requests = scripted(httpx.Response(202, json=job()))
    assert client.submit(*files, {"preset": "quick"}).id == JOB
    [request] = requests
    assert request.url == "http://service/api/jobs"
    assert request.headers["Authorization"] == "Bearer key"
    for part in (b'name="model"; filename="model.pt"', b"the model", b"the dataset", b'{"preset": "quick"}'):
        assert part in request.content


def test_a_submission_is_streamed(tmp_path: Path) -> None:
    """A large file goes through a client that never holds more than a chunk of it."""
    model = tmp_path / "model.pt"
    with model.open("wb") as file:
        file.truncate(1 << 28)
    largest = 0

    class Drain(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal largest
            assert isinstance(request.stream, httpx.SyncByteStream)
            largest = max(len(chunk) for chunk in request.stream)
            return httpx.Response(202, json=job())

    Client("http://service", "key", transport=Drain()).submit(model, model)
    assert 0 < largest < 1 << 20


def test_a_repeated_submission_is_recognisable(files: tuple[Path, Path]) -> None:
    client, requests = scripted(
        httpx.ReadError("reset"), httpx.Response(503), httpx.Response(202, json=job())
    )
    client.submit(*files)
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
    assert len({len(request.content) for request in requests}) == 1, "every attempt sends the whole files"
    client, more = scripted(httpx.Response(202, json=job()))
    client.submit(*files)
    assert more[0].headers["Idempotency-Key"] != requests[0].headers["Idempotency-Key"]


def test_waiting_survives_a_restart_of_the_service() -> None:
    client, _ = scripted(
        httpx.Response(200, json=job("running", stage="latents", progress=0.1)),
        httpx.ConnectError("refused"),
        httpx.Response(503),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(200, json=job("running", stage="latents", progress=0.1)),
        httpx.Response(200, json=job("succeeded", progress=1.0)),
    )
    seen: list[JobView] = []
    assert client.wait(JOB, on_update=seen.append).status is JobStatus.SUCCEEDED
    assert [view.status for view in seen] == [JobStatus.RUNNING, JobStatus.SUCCEEDED]


def test_waiting_ends_with_the_jobs_own_end() -> None:
    error = {"code": "model_unreadable", "message": "This is a pickle.", "stage": "validate"}
    client, _ = scripted(httpx.Response(200, json=job("failed", error=error)))
    with pytest.raises(JobFailed, match=r"This is a pickle. \(model_unreadable\)") as failed:
        client.wait(JOB)
    assert failed.value.job.error is not None
    assert failed.value.job.error.code is ErrorCode.MODEL_UNREADABLE
    client, _ = scripted(httpx.Response(200, json=job("cancelled")))
    with pytest.raises(JobCancelled):
        client.wait(JOB)


def test_waiting_can_run_out_of_time() -> None:
    client, _ = scripted(httpx.Response(200, json=job("running")))
    with pytest.raises(WaitTimeoutError, match="still running"):
        client.wait(JOB, timeout=0.0)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, UnauthorizedError), (404, NotFoundError), (422, RejectedError), (500, ServerFaultError)],
)
def test_a_problem_is_raised_with_its_detail(status: int, error: type[Exception]) -> None:
    problem = {"title": "Not so", "detail": "because of this", "status": status}
    client, _ = scripted(httpx.Response(status, json=problem))
    with pytest.raises(error, match="Not so: because of this"):
        client.get(JOB)


def test_patience_ends() -> None:
    client, _ = scripted(httpx.ConnectError("refused"), patience=0.0)
    with pytest.raises(UnreachableError, match="http://service does not answer: refused"):
        client.get(JOB)
    client, _ = scripted(httpx.Response(503, text="<html>a proxy</html>"), patience=0.0)
    with pytest.raises(ServerFaultError, match="503"):
        client.get(JOB)


def test_a_url_without_http_is_refused_at_once() -> None:
    with (
        Client("service:8000", "key") as client,
        pytest.raises(UnreachableError, match="unsupported protocol"),
    ):
        client.get(JOB)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<html>a proxy's page</html>"),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(200, json=job("paused")),
        httpx.Response(200, json=job("failed", error={"code": "bad_moon", "message": "Wait."})),
    ],
    ids=["a page", "no text", "a new status", "a new error"],
)
def test_an_answer_that_cannot_be_read_says_so(answer: httpx.Response, files: tuple[Path, Path]) -> None:
    for ask in (
        lambda client: client.get(JOB),
        lambda client: client.cancel(JOB),
        lambda client: client.wait(JOB),
        lambda client: client.submit(*files),
        lambda client: next(client.list()),
    ):
        client, _ = scripted(answer)
        with pytest.raises(UnexpectedAnswerError, match="as new as the service"):
            ask(client)


@pytest.mark.parametrize("url", ["http://[::1", "http://host:port"])
def test_a_garbled_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(UnreachableError):
        Client(url, "key")


def test_listing_follows_the_pages() -> None:
    client, requests = scripted(
        httpx.Response(200, json={"items": [job()], "next": "/jobs?after=x&limit=1"}),
        httpx.Response(200, json={"items": [job("succeeded")], "next": None}),
    )
    assert [view.status for view in client.list(page_size=1)] == [JobStatus.QUEUED, JobStatus.SUCCEEDED]
    assert [request.url.raw_path for request in requests] == [
        b"/api/jobs?limit=1",
        b"/api/jobs?after=x&limit=1",
    ]


def test_a_download_is_whole_and_checked(tmp_path: Path) -> None:
    client, _ = scripted(
        httpx.Response(200, json=job("succeeded", artifacts=[artifact(b"hardened")])),
        httpx.ReadError("reset"),
        httpx.Response(200, content=b"hardened"),
    )
    path = client.download(JOB, ArtifactName.MODEL, tmp_path / "model.pt")
    assert path.read_bytes() == b"hardened"
    assert [*tmp_path.iterdir()] == [path]


def test_every_result_gets_a_file_of_its_kind(tmp_path: Path) -> None:
    page = artifact(b"page", name="report.html", href=f"/jobs/{JOB}/report.html")
    client, _ = scripted(
        httpx.Response(200, json=job("succeeded", artifacts=[artifact(b"hardened"), page])),
        httpx.Response(200, content=b"hardened"),
        httpx.Response(200, content=b"page"),
    )
    found = client.download_all(JOB, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in found.values()} == {
        "model.pt": b"hardened",
        "report.html": b"page",
    }


def test_results_of_a_newer_service_are_skipped(tmp_path: Path) -> None:
    """A client that is older than the service downloads what it knows, and lists such jobs."""
    newer = artifact(b"music", name="report.ogg", href=f"/jobs/{JOB}/report.ogg")
    done = job("succeeded", artifacts=[newer, artifact(b"hardened")])
    client, _ = scripted(
        httpx.Response(200, json=done),
        httpx.Response(200, content=b"hardened"),
        httpx.Response(200, json={"items": [done], "next": None}),
    )
    assert [*client.download_all(JOB, tmp_path)] == [ArtifactName.MODEL]
    assert [*tmp_path.iterdir()] == [tmp_path / "model.pt"]
    assert [[found.name for found in listed.artifacts] for listed in client.list()] == [[ArtifactName.MODEL]]


@pytest.mark.parametrize("broken", [{"name": 7}, {"sha256": "short"}, {"name": None}])
def test_a_result_that_is_no_result_is_not_skipped(broken: dict[str, Any]) -> None:
    client, _ = scripted(httpx.Response(200, json=job("succeeded", artifacts=[artifact(b"x", **broken)])))
    with pytest.raises(UnexpectedAnswerError, match="artifacts"):
        client.get(JOB)


@pytest.mark.parametrize("arrived", [b"hardene", b"Hardened"])
def test_a_corrupted_download_leaves_no_file(arrived: bytes, tmp_path: Path) -> None:
    client, _ = scripted(
        httpx.Response(200, json=job("succeeded", artifacts=[artifact(b"hardened")])),
        httpx.Response(200, content=arrived),
    )
    with pytest.raises(CorruptedDownloadError):
        client.download(JOB, ArtifactName.MODEL, tmp_path / "model.pt")
    assert [*tmp_path.iterdir()] == []


def test_a_garbled_path_of_a_result_is_refused(tmp_path: Path) -> None:
    listed = artifact(b"hardened", href="//[")
    client, _ = scripted(httpx.Response(200, json=job("succeeded", artifacts=[listed])))
    with pytest.raises(CorruptedDownloadError, match="no path"):
        client.download(JOB, ArtifactName.MODEL, tmp_path / "model.pt")


@pytest.mark.parametrize("href", ["http://elsewhere/model", "//elsewhere/model"])
def test_the_key_is_not_sent_elsewhere(href: str, tmp_path: Path) -> None:
    listed = artifact(b"hardened", href=href)
    client, requests = scripted(httpx.Response(200, json=job("succeeded", artifacts=[listed])))
    with pytest.raises(CorruptedDownloadError, match="another host"):
        client.download(JOB, ArtifactName.MODEL, tmp_path / "model.pt")
    assert len(requests) == 1


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    client, _ = scripted(httpx.Response(200, json=job("running")))
    with pytest.raises(NotFoundError, match="is running and has no model"):
        client.download(JOB, ArtifactName.MODEL, tmp_path / "model.pt")


def test_cancelling_says_what_became_of_it() -> None:
    client, requests = scripted(httpx.Response(202, json=job("cancelling")))
    assert client.cancel(JOB).status is JobStatus.CANCELLING
    assert (requests[0].method, requests[0].url.path) == ("POST", f"/api/jobs/{JOB}/cancel")


def test_deleting_asks_for_the_job_to_be_removed() -> None:
    client, requests = scripted(httpx.Response(204))
    client.delete(JOB)
    assert (requests[0].method, requests[0].url.path) == ("DELETE", f"/api/jobs/{JOB}")
