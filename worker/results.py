"""Takes what a child left behind, believing nothing of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from pydantic import ValidationError

from ladder_jobs.claims import Claim
from ladder_jobs.objects import ObjectStore, StoreError
from ladder_report.faces import Face, render_separately
from ladder_schema.jobs import FILE_NAMES, ArtifactName
from ladder_schema.protocol import ResultFile
from ladder_schema.report import Report
from worker.breakable import Grace, breakable
from worker.endings import ProtocolViolation
from worker.files import take
from worker.formats import check_archive, check_safetensors
from worker.transfer import Check
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

_DISCARD_SECONDS = 2.0
_MAX_REPORT_BYTES = 64 << 20
_BINARY = "application/octet-stream"
_FACES = {
    Face.HTML: (ArtifactName.REPORT_HTML, "text/html; charset=utf-8"),
    Face.PDF: (ArtifactName.REPORT_PDF, "application/pdf"),
    Face.CARD: (ArtifactName.MODEL_CARD, "text/markdown; charset=utf-8"),
}


@dataclass(frozen=True)
class Result:
    """A checked file, ready to be stored."""

    name: ArtifactName
    path: Path
    media_type: str


def collect(workspace: Workspace, claim: Claim, *, max_bytes: int) -> tuple[Result, ...]:
    """Check the child's results and add the report's faces.

    The report is written anew from its validated value: what is published is what was checked. A face that
    cannot be rendered is left out.

    Raises:
        ProtocolViolation: A file is missing, no regular file, too large, or not what its name says.
    """
    model = _take(workspace, ResultFile.MODEL, max_bytes)
    weights = _take(workspace, ResultFile.WEIGHTS, max_bytes)
    examples = _take(workspace, ResultFile.EXAMPLES, max_bytes)
    check_archive(model)
    check_safetensors(weights)
    check_archive(examples)
    report = _read_report(_take(workspace, ResultFile.REPORT, _MAX_REPORT_BYTES), claim)

    return (
        Result(ArtifactName.MODEL, model, _BINARY),
        Result(ArtifactName.WEIGHTS, weights, _BINARY),
        Result(ArtifactName.EXAMPLES, examples, "application/zip"),
        *_publishable(report, workspace.results),
    )


def _publishable(report: Report, folder: Path) -> tuple[Result, ...]:
    """The report and its faces as files, without those that cannot be rendered.

    A fault of ours in a face would meet the job again each time it is tried, and costs it that face alone.
    """
    rendering = render_separately(report, folder)
    for face, fault in rendering.faults.items():
        log.error("face_not_rendered", face=str(face), exc_info=fault)
    contents = [(ArtifactName.REPORT, report.model_dump_json().encode(), "application/json")]
    contents += [
        (name, rendering.faces[face], media_type)
        for face, (name, media_type) in _FACES.items()
        if face in rendering.faces
    ]
    results = []
    for name, content, media_type in contents:
        path = folder / f"published-{FILE_NAMES[name]}"
        path.write_bytes(content)
        results.append(Result(name, path, media_type))
    return tuple(results)


def _take(workspace: Workspace, name: ResultFile, max_bytes: int) -> Path:
    return take(workspace.output / name, workspace.results / name, max_bytes=max_bytes)


def _read_report(path: Path, claim: Claim) -> Report:
    try:
        report = Report.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ProtocolViolation(f"{path.name} is no report ({_first_fault(error)})") from error
    described = (report.config, report.model.sha256, report.dataset.sha256)
    if described != (claim.config, claim.model.sha256, claim.dataset.sha256):
        raise ProtocolViolation(f"{path.name} describes another job")
    return report


def _first_fault(error: ValidationError) -> str:
    """Say where a report is wrong in our own words: a place may be a key that the child chose."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in _report_words())
    return f"{where}: {first['type']}"


@cache
def _report_words() -> frozenset[str]:
    """Every field of a report, at any depth."""
    schema = Report.model_json_schema()
    parts = (schema, *schema["$defs"].values())
    return frozenset(name for part in parts for name in part.get("properties", {}))


def discard(store: ObjectStore, keys: Sequence[str]) -> None:
    """Delete objects that are of no use; what a silent store does not delete in seconds housekeeping will."""
    grace = Grace(_DISCARD_SECONDS)

    def delete(go_on: Check) -> None:
        for key in keys:
            go_on()
            store.delete(key)

    def check() -> None:
        if grace.is_over():
            raise StoreError("it took too long")

    try:
        breakable(delete, check, linger_seconds=0.0)
    except StoreError:
        log.warning("objects_left_behind", exc_info=True)
