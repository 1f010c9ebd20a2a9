"""The object store: uploads and artifacts as objects of one bucket, through the MinIO SDK.

Keys say whose an object is::

    uploads/<owner id>/<upload id>
    jobs/<job id>/attempts/<number>/<file>
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, cast
from uuid import UUID, uuid4

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from ladder_jobs.settings import Settings

CHUNK_BYTES = 1 << 20
PART_BYTES = 8 << 20
MAX_PARTS = 10_000  # S3's limit on the parts of one object

_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchBucket", "NoSuchUpload"})
_SKEWED = "RequestTimeTooSkewed"
_BUCKET_IS_OURS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0
_PROOF_BYTES = 1 << 16


class StoreError(Exception):
    """The object store did not do what it was asked; trying again later may help."""


class ObjectMissingError(StoreError):
    """There is no such object."""


class ClockSkewedError(StoreError):
    """This machine's clock is too far from the store's for anything that it signs to be accepted."""


class Reader(Protocol):
    """A source of bytes; an empty answer is its end."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes."""
        ...


@dataclass(frozen=True)
class StoredObject:
    """What was stored."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ListedObject:
    """An object in the store, and when it was written by the store's own clock."""

    key: str
    written_at: datetime


@dataclass(frozen=True)
class UnfinishedUpload:
    """Parts in the store that were never made an object, and when the first of them was announced."""

    key: str
    id: str
    started_at: datetime


def upload_key(owner_id: UUID, upload_id: UUID) -> str:
    """Where an upload lies."""
    return f"uploads/{owner_id}/{upload_id}"


def attempt_key(job_id: UUID, attempt: int, filename: str) -> str:
    """Where an attempt's file lies: attempts never overwrite each other's."""
    return f"jobs/{job_id}/attempts/{attempt}/{filename}"


def job_prefix(job_id: UUID) -> str:
    """What the keys of all of a job's attempts begin with."""
    return f"jobs/{job_id}/"


class ObjectStore:
    """One bucket. Every method raises :class:`StoreError` when the store fails or cannot be reached.

    Args:
        settings: Where the store is, and its keys.
        http: Connections to it, in place of patient ones that try again.
    """

    def __init__(self, settings: Settings, *, http: urllib3.PoolManager | None = None) -> None:
        self._bucket = settings.s3_bucket
        self._client = Minio(
            endpoint=settings.s3_endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
            # Without a region the SDK asks the store for it before the first request.
            region=settings.s3_region or "us-east-1",
            http_client=http
            or urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
                maxsize=32,
                retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            ),
        )

    def ensure_bucket(self) -> None:
        """Make sure the store answers and holds the bucket, which is created when missing."""
        with _translated(self._bucket):
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code not in _BUCKET_IS_OURS:
                    raise

    def put_stream(
        self,
        key: str,
        reader: Reader,
        *,
        media_type: str = "application/octet-stream",
        part_bytes: int = PART_BYTES,
    ) -> StoredObject:
        """Store a stream of unknown length, in parts, so that no more than a few parts are ever in memory.

        An exception raised by the reader ends the upload, leaves no object behind, and comes out as it is.

        Args:
            key: Where to store it.
            reader: What to store.
            media_type: Its media type.
            part_bytes: Size of a part; the object may have 10,000.
        """
        source = _HashingReader(reader)
        with _translated(key):
            self._client.put_object(
                self._bucket,
                key,
                cast("BinaryIO", source),
                length=-1,
                part_size=part_bytes,
                num_parallel_uploads=1,
                content_type=media_type,
            )
        return StoredObject(key=key, bytes=source.bytes, sha256=source.sha256)

    def put_file(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> StoredObject:
        """Store a file.

        Raises:
            OSError: The file cannot be read.
        """
        part_bytes = max(PART_BYTES, -(-path.stat().st_size // MAX_PARTS))
        with path.open("rb") as file:
            return self.put_stream(key, file, media_type=media_type, part_bytes=part_bytes)

    def get_to_file(self, key: str, path: Path) -> StoredObject:
        """Fetch an object into a new file.

        Returns:
            What was fetched, for the caller to compare with what it expects.

        Raises:
            ObjectMissingError: There is no such object.
            OSError: The file exists already or cannot be written.
        """
        digest, size = hashlib.sha256(), 0
        chunks = self.open(key)
        with path.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        return StoredObject(key=key, bytes=size, sha256=digest.hexdigest())

    def open(self, key: str, *, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """Start reading an object, or ``length`` bytes of it from ``offset``; 0 reads to the end.

        The object is known to exist when this returns; the chunks come as the iterator is advanced.

        Raises:
            ObjectMissingError: There is no such object.
        """
        with _translated(key):
            response = self._client.get_object(self._bucket, key, offset=offset, length=length)
        return _chunks(key, response)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            with _translated(key):
                self._client.stat_object(self._bucket, key)
        except ObjectMissingError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        with _translated(key):
            self._client.remove_object(self._bucket, key)

    def list_keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``."""
        return (listed.key for listed in self.list_objects(prefix))

    def list_objects(self, prefix: str = "") -> Iterator[ListedObject]:
        """Objects whose keys begin with ``prefix``; a page of them is in memory at a time."""
        with _translated(prefix):
            for item in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                yield ListedObject(cast("str", item.object_name), cast("datetime", item.last_modified))

    def list_unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Uploads in parts whose keys begin with ``prefix`` and which are neither complete nor aborted.

        SeaweedFS does not say where its next page begins, so what is beyond the first is seen once that is
        gone. MinIO lists only those of one whole key, and removes stale ones itself, after a day.
        """
        key_marker = id_marker = None
        while True:
            with _translated(prefix):
                page = self._client._list_multipart_uploads(  # noqa: SLF001 - the SDK has no public way
                    self._bucket, prefix=prefix, key_marker=key_marker, upload_id_marker=id_marker
                )
            for upload in page.uploads:
                yield UnfinishedUpload(
                    upload.object_name, cast("str", upload.upload_id), cast("datetime", upload.initiated_time)
                )
            key_marker, id_marker = page.next_key_marker, page.next_upload_id_marker
            if not (page.is_truncated and key_marker):
                return

    def abort(self, upload: UnfinishedUpload) -> None:
        """Give up an unfinished upload; one that is not there is fine."""
        with suppress(ObjectMissingError), _translated(upload.key):
            self._client._abort_multipart_upload(self._bucket, upload.key, upload.id)  # noqa: SLF001

    def prove(self) -> None:
        """Make sure that the store takes what is put, gives it back, and deletes it.

        With a body: one that keeps names apart from contents may take an object of no bytes, and no other.
        """
        key = upload_key(uuid4(), uuid4())  # left behind by a crash, it is an orphan like any other
        content = os.urandom(_PROOF_BYTES)
        with _translated(key):
            self._client.put_object(self._bucket, key, io.BytesIO(content), len(content))
        returned = b"".join(self.open(key))
        self.delete(key)
        if returned != content:
            raise StoreError("the object store gives back other bytes than it was given")

    def now(self) -> datetime:
        """What time the store would write on an object now: its clock may differ from everybody else's."""
        key = upload_key(uuid4(), uuid4())  # left behind by a crash, it is an orphan like any other
        with _translated(key):
            self._client.put_object(self._bucket, key, io.BytesIO(), 0)
            written = self._client.stat_object(self._bucket, key).last_modified
            self._client.remove_object(self._bucket, key)
        return cast("datetime", written)


class _HashingReader:
    """Counts and hashes what passes, and fills each read: the SDK copies its part once per read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1, /) -> bytes:
        pieces: list[bytes] = []
        while size > 0 and (piece := self._reader.read(size)):
            pieces.append(piece)
            size -= len(piece)
            self.bytes += len(piece)
            self._digest.update(piece)
        return b"".join(pieces)


def _chunks(key: str, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        with _translated(key):
            yield from response.stream(CHUNK_BYTES)
    finally:
        response.close()
        response.release_conn()


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn what the SDK raises into this module's errors."""
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise ObjectMissingError(f"there is no object {key!r}") from error
        if error.code == _SKEWED:
            clock = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
            raise ClockSkewedError(
                f"this machine's clock says {clock}, too far from the object store's: set it right"
            ) from error
        raise StoreError(f"the object store refused {key!r}: {error.code}") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise StoreError(f"the object store cannot be reached for {key!r}: {type(error).__name__}") from error
