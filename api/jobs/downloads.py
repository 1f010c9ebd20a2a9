"""Serves a stored file: streamed, cacheable by its hash, resumable by range, never trusted as a page."""

import re
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.errors import RangeNotSatisfiable
from ladder_jobs.objects import ObjectStore
from ladder_jobs.tables import Artifact, AttemptLog
from ladder_schema.jobs import FILE_NAMES, ArtifactName

# The page came out of a process that ran an uploaded model: it may show pictures and style, and do nothing.
_PAGE_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_SHOWN_INLINE = frozenset({ArtifactName.REPORT, ArtifactName.REPORT_HTML, ArtifactName.REPORT_PDF})
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


LOG_MEDIA_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Download:
    """A stored file, and how it is given out.

    Attributes:
        key: Where it lies in the object store.
        bytes: Its size.
        sha256: Its hash, in hexadecimal.
        media_type: What it is.
        headers: What its answers carry besides.
    """

    key: str
    bytes: int
    sha256: str
    media_type: str
    headers: dict[str, str]

    @classmethod
    def of_artifact(cls, artifact: Artifact, *, vary: str | None = None) -> "Download":
        """A result of a job."""
        name = f"{short_id(artifact.job_id)}-{FILE_NAMES[artifact.name]}"
        headers = guarded(name, inline=artifact.name in _SHOWN_INLINE)
        if artifact.name is ArtifactName.REPORT_HTML:
            headers["Content-Security-Policy"] = _PAGE_POLICY
        if vary:
            headers["Vary"] = vary
        return cls(artifact.object_key, artifact.bytes, artifact.sha256, artifact.media_type, headers)

    @classmethod
    def of_log(cls, log: AttemptLog, headers: dict[str, str]) -> "Download":
        """The log of an attempt."""
        return cls(log.object_key, log.bytes, log.sha256, LOG_MEDIA_TYPE, headers)


def serve(request: Request, store: ObjectStore, download: Download) -> Response:
    """Answer with a file, the part of it that was asked for, or 304 when the caller has it.

    Raises:
        RangeNotSatisfiable: The range lies outside the file.
        StoreError: The object store failed.
    """
    etag = f'"{download.sha256}"'
    headers = {
        **download.headers,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    # A range is defined for GET alone.
    wanted = None if request.method == "HEAD" else _range(request, download.bytes, etag)
    if wanted is None:
        headers["Content-Length"] = str(download.bytes)
        if request.method == "HEAD":
            return Response(status_code=200, headers=headers, media_type=download.media_type)
        chunks = store.open(download.key)
        return StreamingResponse(chunks, 200, headers=headers, media_type=download.media_type)
    first, last = wanted
    length = last - first + 1
    headers["Content-Length"] = str(length)
    headers["Content-Range"] = f"bytes {first}-{last}/{download.bytes}"
    chunks = store.open(download.key, offset=first, length=length)
    return StreamingResponse(chunks, 206, headers=headers, media_type=download.media_type)


def guarded(filename: str, *, inline: bool = False) -> dict[str, str]:
    """Headers under which a browser neither guesses what a file is nor, unless ``inline``, shows it."""
    return {
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'{"inline" if inline else "attachment"}; filename="{filename}"',
    }


def short_id(job_id: UUID) -> str:
    """What file names call a job."""
    return str(job_id)[:8]


def prefers_html(accept: str) -> bool:
    """Whether an ``Accept`` header would rather have HTML than JSON; without a preference, JSON."""
    return _quality(accept, "text", "html") > _quality(accept, "application", "json")


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
