"""Brings a child's checkpoints to the object store, and an earlier attempt's back."""

import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs import claims
from ladder_jobs.claims import Claim, LeaseLost, StoredCheckpoint, UploadRef
from ladder_jobs.objects import ObjectStore, attempt_key
from ladder_schema.protocol import CHECKPOINTS, CheckpointName
from worker.breakable import breakable
from worker.endings import InputLost, Interrupted
from worker.files import FileMissing, take
from worker.transfer import Check, download, store_file
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

_BINARY = "application/octet-stream"


class _NotWanted(Exception):  # noqa: N818 - not an error
    """The attempt has ended in a way after which nobody goes on."""


class CheckpointKeeper:
    """Stores checkpoints in a thread of its own, so that no transfer delays the supervision of the child.

    A checkpoint that cannot be stored costs time should the attempt end early, and nothing else: the trouble
    is logged, and the next one may fare better. Of several with one name only the latest is stored.

    A file is taken and judged at once. The child may have kept it open: then what it holds is the child's
    choice up to the last byte, as it always is; how much of it is stored is not, and on the disk it counts as
    the child's for as long as it is there.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        claim: Claim,
        workspace: Workspace,
        *,
        check: Check,
        max_bytes: int,
    ) -> None:
        """Take what a transfer needs; ``check`` is called throughout each and raises to break it off."""
        self._sessions = sessions
        self._store = store
        self._claim = claim
        self._workspace = workspace
        self._check = check
        self._max_bytes = max_bytes
        self._waiting: dict[CheckpointName, Path] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_dropped = False
        self._taken = 0
        self._thread = threading.Thread(target=self._work, name=f"checkpoints-{claim.job_id}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What ends the supervision of a child with an exception is an outage, and another attempt follows.
        self.close(wanted=error is not None)

    def note(self, name: CheckpointName) -> None:
        """The child says that this checkpoint is complete.

        Raises:
            ProtocolViolation: What it left is no plain file, empty, or too large.
        """
        source = self._workspace.output / CHECKPOINTS / name
        self._taken += 1
        try:
            path = take(
                source, self._workspace.checkpoints / f"{name}-{self._taken}", max_bytes=self._max_bytes
            )
        except FileMissing:
            return  # an earlier message of the same name brought it along
        except OSError as error:
            log.warning("checkpoint_not_stored", checkpoint=name, error=str(error))
            return
        with self._changed:
            earlier = self._waiting.pop(name, None)
            self._waiting[name] = path
            self._changed.notify()
        if earlier is not None:
            earlier.unlink()

    def close(self, *, wanted: bool) -> None:
        """End the thread; once is enough, and twice does no harm.

        Args:
            wanted: Whether another attempt is to go on from what waits to be stored; then it is stored first.
        """
        with self._changed:
            self._is_closing = True
            self._is_dropped = self._is_dropped or not wanted
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while (waiting := self._next()) is not None:
            name, path = waiting
            try:
                self._keep(name, path)
            except (_NotWanted, Interrupted, LeaseLost):
                return
            except Exception as error:
                # Whatever it is: the next one may fare better, and nobody else would store it.
                log.warning("checkpoint_not_stored", checkpoint=name, error=str(error), exc_info=True)

    def _next(self) -> tuple[CheckpointName, Path] | None:
        """Wait for a checkpoint; None is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if self._is_dropped or not self._waiting:
                return None
            name = next(iter(self._waiting))
            return name, self._waiting.pop(name)

    def _keep(self, name: CheckpointName, path: Path) -> None:
        key = attempt_key(self._claim.job_id, self._claim.attempt, f"{CHECKPOINTS}/{path.name}")
        try:
            stored = breakable(partial(store_file, self._store, key, path, _BINARY), self._check_both)
        finally:
            path.unlink()
        with self._sessions.begin() as session:
            kept = StoredCheckpoint(stored.key, stored.bytes, stored.sha256)
            claims.record_checkpoint(session, self._claim, name, kept)
        log.info("checkpoint_stored", checkpoint=name, bytes=stored.bytes)

    def _check_both(self) -> None:
        self._check()
        if self._is_dropped:
            raise _NotWanted


def fetch_checkpoints(
    store: ObjectStore,
    kept: Mapping[CheckpointName, StoredCheckpoint],
    workspace: Workspace,
    check: Check,
) -> Path | None:
    """Fetch what earlier attempts left; what is lost or damaged has to be worked out again.

    Args:
        store: The object store.
        kept: What they left.
        workspace: Takes the files.
        check: Called throughout; what it raises ends the transfer.

    Returns:
        The directory of the files, each called by its name; None where there are none.

    Raises:
        OSError: The disk failed.
        ladder_jobs.objects.StoreError: The object store did.
    """
    if not kept:
        return None
    directory = workspace.inputs / CHECKPOINTS
    workspace.share(directory)
    for name, stored in kept.items():
        path = directory / name
        reference = UploadRef(stored.key, stored.bytes, stored.sha256, name)
        try:
            breakable(partial(download, store, reference, path), check)
        except InputLost as loss:
            log.warning("checkpoint_lost", checkpoint=name, reason=str(loss))
            path.unlink(missing_ok=True)
            continue
        workspace.hand_over(path)
    log.info("checkpoints_fetched", checkpoints=sorted(kept))
    return directory
