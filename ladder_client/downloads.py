"""A result arrives whole and as announced, or not at all."""

import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ladder_client.errors import ApiError, CorruptedDownloadError
from ladder_client.retries import PassingFaultError, is_passing
from ladder_schema.jobs import ArtifactView


def fetch(http: httpx.Client, artifact: ArtifactView, path: Path) -> None:
    """Download into a file beside ``path``, compare size and hash, and rename.

    Raises:
        CorruptedDownloadError: Another size or hash than announced.
        ApiError: The service refused.
        PassingFaultError: The service asks to come back later.
        httpx.TransportError: The connection broke.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with http.stream("GET", relative(artifact.href)) as response, draft.open("wb") as file:
            check(response)
            digest = hashlib.sha256()
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
            size = file.tell()
        if size != artifact.bytes or digest.hexdigest() != artifact.sha256:
            raise CorruptedDownloadError(
                f"{artifact.name} arrived with {size} bytes and SHA-256 {digest.hexdigest()}; "
                f"announced were {artifact.bytes} bytes and {artifact.sha256}"
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def relative(href: str) -> str:
    """A path of the API, relative to the client's base URL.

    Raises:
        CorruptedDownloadError: It is no path, or leads to another host, who must not be sent the key.
    """
    try:
        parts = urlsplit(href)
    except ValueError as error:
        raise CorruptedDownloadError(f"the service refers to something that is no path: {href}") from error
    if parts.scheme or parts.netloc:
        raise CorruptedDownloadError(f"the service refers to another host: {href}")
    return href.lstrip("/")


def check(response: httpx.Response) -> None:
    """Make sure that an answer whose body is to be streamed is a good one.

    Raises:
        ApiError: The service refused.
        PassingFaultError: The service asks to come back later.
    """
    if response.is_success:
        return
    response.read()
    raise PassingFaultError(response) if is_passing(response) else ApiError.of(response)
