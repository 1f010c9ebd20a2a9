"""Files to post, results to publish, and the shape every error has."""

import io
import zipfile

import httpx

from ladder_schema.jobs import ArtifactName

ARTIFACTS = {
    ArtifactName.MODEL: ("model.pt", b"PK the model", "application/octet-stream"),
    ArtifactName.WEIGHTS: ("weights.safetensors", b"0123456789", "application/octet-stream"),
    ArtifactName.EXAMPLES: ("examples.zip", b"PK the examples", "application/zip"),
    ArtifactName.REPORT: ("report.json", b'{"verdict": "deploy"}', "application/json"),
    ArtifactName.REPORT_HTML: ("report.html", b"<p>deploy</p>", "text/html; charset=utf-8"),
    ArtifactName.REPORT_PDF: ("report.pdf", b"%PDF-1.7 deploy", "application/pdf"),
    ArtifactName.MODEL_CARD: ("model-card.md", b"# deploy", "text/markdown; charset=utf-8"),
}


def make_zip(content: bytes = b"content") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data", content)
    return buffer.getvalue()


ZIP = make_zip()


def assert_problem(answer: httpx.Response, status: int) -> dict:
    """The answer is a problem of this status, in the one shape there is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "request_id", "errors"}
    assert problem["status"] == status
    assert problem["instance"] == answer.request.url.path
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["type"].startswith("urn:ladder:problem:")
    assert problem["title"]
    assert problem["detail"]
    for error in problem["errors"]:
        assert set(error) == {"field", "value", "message", "remedy"}
        assert error["field"]
        assert error["message"]
        assert error["remedy"]
    return problem
