"""Serves a stored artifact: streamed, cacheable by its hash, resumable by range, never trusted as a page."""

import re
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.errors import RangeNotSatisfiable
from ladder_jobs.objects import ObjectStore
from ladder_jobs.tables import Artifact
from ladder_schema.jobs import FILE_NAMES, ArtifactName

# The page came out of a process that ran an uploaded model: it may show pictures and style, and do nothing.
_PAGE_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_SHOWN_INLINE = frozenset({ArtifactName.REPORT, ArtifactName.REPORT_HTML})
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def serve(request: Request, store: ObjectStore, artifact: Artifact, *, vary: str | None = None) -> Response:
    """Answer with an artifact, the part of it that was asked for, or 304 when the caller has it.

    Raises:
        RangeNotSatisfiable: The range lies outside the file.
        StoreError: The object store failed.
    """
    headers = _headers(artifact, vary)
    etag = headers["ETag"]
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    # A range is defined for GET alone.
    wanted = None if request.method == "HEAD" else _range(request, artifact.bytes, etag)
    if wanted is None:
        headers["Content-Length"] = str(artifact.bytes)
        if request.method == "HEAD":
            return Response(status_code=200, headers=headers, media_type=artifact.media_type)
        chunks = store.open(artifact.object_key)
        return StreamingResponse(chunks, 200, headers=headers, media_type=artifact.media_type)
    first, last = wanted
    length = last - first + 1
    headers["Content-Length"] = str(length)
    headers["Content-Range"] = f"bytes {first}-{last}/{artifact.bytes}"
    chunks = store.open(artifact.object_key, offset=first, length=length)
    return StreamingResponse(chunks, 206, headers=headers, media_type=artifact.media_type)


def prefers_html(accept: str) -> bool:
    """Whether an ``Accept`` header would rather have HTML than JSON; without a preference, JSON."""
    return _quality(accept, "text", "html") > _quality(accept, "application", "json")


def _headers(artifact: Artifact, vary: str | None) -> dict[str, str]:
    disposition = "inline" if artifact.name in _SHOWN_INLINE else "attachment"
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'{disposition}; filename="{_filename(artifact.job_id, artifact.name)}"',
    }
    if artifact.name is ArtifactName.REPORT_HTML:
        headers["Content-Security-Policy"] = _PAGE_POLICY
    if vary:
        headers["Vary"] = vary
    return headers


def _filename(job_id: UUID, name: ArtifactName) -> str:
    return f"{str(job_id)[:8]}-{FILE_NAMES[name]}"


def _names(header: str | None, etag: str) -> bool:
    """Whether a list of entity tags has this one; a weak tag names the same bytes here."""
    tags = {tag.strip().removeprefix("W/") for tag in (header or "").split(",")}
    return etag in tags or "*" in tags


def _range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """First and last byte asked for; None for the whole file, which also answers a list of ranges."""
    header = _RANGE.fullmatch(request.headers.get("range", "").strip())
    condition = request.headers.get("if-range")
    if header is None or header.group() == "bytes=-" or (condition is not None and condition != etag):
        return None
    start, end = header.groups()
    if start:
        first, last = int(start), min(int(end), size - 1) if end else size - 1
        if end and int(end) < first:
            return None
    else:
        first, last = max(0, size - int(end)), size - 1
    if first > last:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return first, last


def _quality(accept: str, kind: str, subkind: str) -> float:
    """How much a header wants a media type, 0 to 1, by its most specific mention."""
    best = (-1, 0.0)
    for entry in accept.split(","):
        name, *parameters = (piece.strip() for piece in entry.lower().split(";"))
        rank = {f"{kind}/{subkind}": 2, f"{kind}/*": 1, "*/*": 0}.get(name)
        if rank is not None:
            best = max(best, (rank, _weight(parameters)))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0
