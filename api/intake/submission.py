"""Receives the body of ``POST /jobs``: its files go into the object store while they arrive.

Whatever goes wrong on the way (a bad part, too many bytes, a caller that hangs up), nothing stays behind.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import structlog

from api.errors import FieldError, Invalid, TooLarge
from api.intake.config import MAX_CONFIG_BYTES, parse_config
from api.intake.feed import Feed
from api.intake.inspector import NEEDS, FileKind, Inspector
from api.intake.limits import UploadSlots, bounded
from api.intake.multipart import Event, PartEnd, PartStart, read_parts
from api.settings import ApiSettings
from ladder_jobs.objects import MAX_PARTS, PART_BYTES, ObjectStore, StoredObject, StoreError, upload_key
from ladder_jobs.repository import NewUpload
from ladder_schema.config import JobConfig

log = structlog.get_logger(__name__)

_OVERHEAD_BYTES = 1 << 16
"""What boundaries and part headers may add to the bytes of the parts."""

_DISCARD_SECONDS = 10.0


@dataclass(frozen=True)
class Submission:
    """A complete, acceptable body; its files are in the object store."""

    config: JobConfig
    model: NewUpload
    dataset: NewUpload


class Intake:
    """Receives uploads, a bounded number at a time."""

    def __init__(self, settings: ApiSettings, store: ObjectStore) -> None:
        self.max_bytes: dict[FileKind, int] = {
            "model": settings.max_model_bytes,
            "dataset": settings.max_dataset_bytes,
        }
        self.store = store
        # Uploads wait for their callers, so they get threads of their own: the others stay free for requests.
        self.threads = anyio.CapacityLimiter(settings.max_concurrent_uploads)
        self._idle_seconds = settings.upload_idle_seconds
        self._min_bytes_per_second = settings.upload_min_bytes_per_second
        self._max_seconds = settings.upload_max_seconds
        self.longest_job_seconds = settings.job_max_seconds
        self._max_body_bytes = sum(self.max_bytes.values()) + MAX_CONFIG_BYTES + _OVERHEAD_BYTES
        self._slots = UploadSlots(settings.max_concurrent_uploads, settings.max_concurrent_uploads_per_owner)

    async def receive(
        self, body: AsyncIterator[bytes], boundary: bytes, *, announced: int | None, owner_id: UUID
    ) -> Submission:
        """Receive one body.

        Args:
            body: Its bytes as they arrive.
            boundary: What separates its parts.
            announced: Its length by the caller's word, if given.
            owner_id: Whose upload it is.

        Raises:
            Problem: It is not acceptable, or there is no room for it now.
            StoreError: The object store failed.
            starlette.requests.ClientDisconnect: The caller hung up.
        """
        if announced is not None and announced > self._max_body_bytes:
            raise TooLarge(
                f"The body has {announced} bytes; a model of {self.max_bytes['model']} and a dataset of "
                f"{self.max_bytes['dataset']} bytes are accepted."
            )
        arriving = bounded(
            body,
            max_bytes=self._max_body_bytes,
            idle_seconds=self._idle_seconds,
            min_bytes_per_second=self._min_bytes_per_second,
            max_seconds=self._max_seconds,
        )
        with self._slots.taken(owner_id):
            receipt = _Receipt(self, owner_id)
            try:
                async with aclosing(arriving), aclosing(read_parts(arriving, boundary)) as events:
                    async for event in events:
                        # Whoever takes a part takes all its events, so what arrives here begins one.
                        if isinstance(event, PartStart):
                            await receipt.take(event, events)
                return receipt.submission()
            except BaseException:
                await self.discard(receipt.keys)
                raise

    async def discard(self, keys: Iterable[str]) -> None:
        """Delete uploads nobody will use, even while the server is shutting down, for a bounded time."""
        with anyio.move_on_after(_DISCARD_SECONDS, shield=True):
            for key in keys:
                try:
                    await anyio.to_thread.run_sync(self.store.delete, key, abandon_on_cancel=True)
                except StoreError as error:
                    log.warning("upload not discarded", key=key, error=str(error))


class _Receipt:
    """What has arrived of one body."""

    def __init__(self, intake: Intake, owner_id: UUID) -> None:
        self.keys: list[str] = []
        self._intake = intake
        self._owner_id = owner_id
        self._files: dict[FileKind, NewUpload] = {}
        self._config: JobConfig | None = None

    async def take(self, part: PartStart, events: AsyncIterator[Event]) -> None:
        """Receive one part."""
        match part.name:
            case "model" | "dataset" if part.name not in self._files:
                self._files[part.name] = await self._file(part.name, part.filename, events)
            case "config" if self._config is None:
                self._config = self._parse(await _small_body(events))
            case "model" | "dataset" | "config":
                raise Invalid.field(part.name, "This part is there twice.", "Send each part once.")
            case _:
                raise Invalid.field(
                    part.name, "There is no such part.", "Send model, dataset and, if you like, config."
                )

    def submission(self) -> Submission:
        """All of it, when it is all there."""
        missing = [kind for kind in NEEDS if kind not in self._files]
        if missing:
            raise Invalid(
                FieldError(field=kind, message="This part is missing.", remedy=NEEDS[kind])
                for kind in missing
            )
        return Submission(
            config=self._config or self._parse(b""),
            model=self._files["model"],
            dataset=self._files["dataset"],
        )

    def _parse(self, text: bytes) -> JobConfig:
        return parse_config(text, longest_seconds=self._intake.longest_job_seconds)

    async def _file(self, kind: FileKind, filename: str | None, events: AsyncIterator[Event]) -> NewUpload:
        """Store one file while it arrives."""
        upload_id = uuid4()
        key = upload_key(self._owner_id, upload_id)
        self.keys.append(key)
        feed = Feed()
        storing = asyncio.create_task(self._store(key, feed, self._intake.max_bytes[kind]))
        try:
            await _fill(feed, Inspector(kind, self._intake.max_bytes[kind]), events)
        except anyio.BrokenResourceError:
            log.info("upload refused by the object store", key=key)
        finally:
            feed.close()
            with anyio.CancelScope(shield=True):
                await asyncio.gather(storing, return_exceptions=True)
        stored = storing.result()
        return NewUpload(
            id=upload_id,
            kind=kind,
            filename=filename or kind,
            key=key,
            bytes=stored.bytes,
            sha256=stored.sha256,
        )

    async def _store(self, key: str, feed: Feed, max_bytes: int) -> StoredObject:
        part_bytes = max(PART_BYTES, -(-max_bytes // MAX_PARTS))
        put = partial(self._intake.store.put_stream, key, feed, part_bytes=part_bytes)
        try:
            return await anyio.to_thread.run_sync(put, limiter=self._intake.threads)
        finally:
            feed.stop_reading()


async def _fill(feed: Feed, inspector: Inspector, events: AsyncIterator[Event]) -> None:
    """Feed a file's bytes to whoever stores them; only a file that passes inspection is finished."""
    async for event in events:
        if isinstance(event, bytes):
            inspector.look(event)
            await feed.write(event)
        elif isinstance(event, PartEnd):
            inspector.finish()
            await feed.finish()
            return


async def _small_body(events: AsyncIterator[Event]) -> bytes:
    """The configuration's text."""
    text = b""
    async for event in events:
        if isinstance(event, bytes):
            text += event
            if len(text) > MAX_CONFIG_BYTES:
                raise TooLarge(f"The config is larger than the {MAX_CONFIG_BYTES} bytes accepted.")
        elif isinstance(event, PartEnd):
            break
    return text
