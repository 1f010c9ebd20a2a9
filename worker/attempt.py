"""One attempt at one job: inputs, child, results, settlement."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs import claims
from ladder_jobs.claims import Claim, LeaseLost, StoredArtifact, UploadRef
from ladder_jobs.objects import ObjectStore, StoreError, attempt_key
from ladder_schema.jobs import JobError, JobStatus
from ladder_schema.protocol import Start
from worker.bubblewrap import Bubblewrap
from worker.cgroups import Cgroup, Cgroups
from worker.checkpoints import CheckpointKeeper, fetch_checkpoints
from worker.endings import (
    Cause,
    Died,
    Dropped,
    Ending,
    Finished,
    InputLost,
    Interrupted,
    OutOfTime,
    ProtocolViolation,
    Refused,
)
from worker.lease import Lease
from worker.limits import group_limit
from worker.process import ChildProcess
from worker.results import Result, collect
from worker.runtime import Runtime
from worker.sandbox import Confinement
from worker.sandbox.proof import needs_gpu
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor
from worker.transfer import Check, download, store_file
from worker.users import ChildUsers, borrowed
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

DATABASE_OUTAGE = (OperationalError, InterfaceError, PoolTimeoutError)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Tools:
    """What every attempt of a worker uses."""

    settings: WorkerSettings
    sessions: sessionmaker[Session]
    store: ObjectStore
    shutdown: threading.Event
    users: ChildUsers | None
    cgroups: Cgroups | None
    bubblewrap: Bubblewrap | None
    device: str
    child_command: Sequence[str]


class Attempt:
    """Sees one claim through."""

    def __init__(self, tools: Tools, claim: Claim) -> None:
        self._tools = tools
        self._claim = claim
        self._settings = tools.settings
        self._runtime = Runtime.of(claim, self._settings)
        self._lease = Lease(tools.sessions, claim, self._settings)
        self._is_unsure = False

    def run(self) -> None:
        """Run the job and settle it.

        Raises:
            LeaseLost: The job is another worker's by now; nothing is left of this attempt.
            OSError: The disk failed; the job is not settled.
            ladder_jobs.objects.StoreError: The object store did; the job is not settled.
            sqlalchemy.exc.SQLAlchemyError: The database did, and the job may or may not be settled.
        """
        root = self._settings.attempt_dir(self._claim.job_id, self._claim.attempt)
        with (
            self._lease as lease,
            borrowed(self._tools.users) as identity,
            Workspace(root, identity) as workspace,
            self._cgroup() as cgroup,
        ):
            match self._reach_end(workspace, lease, cgroup):
                case Finished():
                    self._publish(workspace, lease)
                case ending:
                    self._settle(ending)

    def release(self, reason: str, *, pause_seconds: float = 0.0) -> None:
        """Give the job back to its queue, from which nobody is to take it before a pause is over."""
        self._write(lambda session: self._release(session, reason=reason, pause_seconds=pause_seconds))

    def fail(self, error: JobError) -> None:
        """End the job with an error."""
        self._write(lambda session: claims.settle_failed(session, self._claim, error))

    def _cgroup(self) -> AbstractContextManager[Cgroup | None]:
        if self._tools.cgroups is None:
            return nullcontext()
        name = f"{self._claim.job_id}-{self._claim.attempt}"
        return self._tools.cgroups.group(name, group_limit(self._settings))

    def _reach_end(self, workspace: Workspace, lease: Lease, cgroup: Cgroup | None) -> Ending:
        try:
            self._fetch(self._claim.model, workspace, "model", lease)
            self._fetch(self._claim.dataset, workspace, "dataset", lease)
            kept = self._write(lambda session: claims.checkpoints_of(session, self._claim))
            resume_from = fetch_checkpoints(self._tools.store, kept, workspace, self._check(lease))
        except InputLost as loss:
            return Refused(loss.as_job_error())
        except Interrupted as interruption:
            return Dropped(interruption.cause)
        except OutOfTime:
            return Refused(self._runtime.as_job_error(None))
        settings = self._settings
        with CheckpointKeeper(
            self._tools.sessions,
            self._tools.store,
            self._claim,
            workspace,
            check=lease.check,
            max_bytes=settings.max_result_bytes,
        ) as keeper:
            child = self._start_child(workspace, cgroup)
            log.info("child_started", pid=child.pid)
            supervisor = Supervisor(
                child,
                lease,
                self._tools.shutdown,
                settings,
                self._runtime,
                workspace.output,
                on_checkpoint=keeper.note,
            )
            ending = supervisor.run(self._order(workspace, resume_from))
            keeper.close(wanted=_goes_on(ending))
        return ending

    def _order(self, workspace: Workspace, resume_from: Path | None) -> Start:
        return Start(
            model=workspace.inputs / "model",
            dataset=workspace.inputs / "dataset",
            work_dir=workspace.output,
            device=self._tools.device,
            config=self._claim.config,
            resume_from=resume_from,
            checkpoint_seconds=self._settings.checkpoint_seconds,
        )

    def _start_child(self, workspace: Workspace, cgroup: Cgroup | None) -> ChildProcess:
        confinement = Confinement(
            writable=str(workspace.output.resolve()),
            readable=(str(workspace.inputs.resolve()),),
            max_file_bytes=self._settings.max_result_bytes,
            max_cpu_seconds=int(self._settings.job_max_seconds) * (os.cpu_count() or 1) + 1,
            parent=os.getpid() if self._tools.bubblewrap is None else Bubblewrap.PARENT,
            own_user=workspace.identity is not None,
            gpu=needs_gpu(self._tools.device),
            strict=self._settings.sandbox == "strict",
        )
        return ChildProcess(
            [*self._tools.child_command, confinement.to_argument()],
            work_dir=workspace.output,
            log=workspace.log,
            max_log_bytes=self._settings.max_log_bytes,
            identity=workspace.identity,
            cgroup=cgroup,
            outer_wall=self._tools.bubblewrap,
        )

    def _fetch(self, upload: UploadRef, workspace: Workspace, name: str, lease: Lease) -> None:
        path = workspace.inputs / name
        download(self._tools.store, upload, path, self._check(lease))
        workspace.hand_over(path)

    def _check(self, lease: Lease) -> Check:
        """What breaks off a transfer that nobody waits for any more."""

        def check() -> None:
            lease.check()
            if self._tools.shutdown.is_set():
                raise Interrupted(Cause.SHUTDOWN)
            if self._runtime.is_over:
                raise OutOfTime

        return check

    def _settle(self, ending: Refused | Died | Dropped) -> None:
        log.info("attempt_ended", ending=type(ending).__name__.lower(), detail=str(ending))
        match ending:
            case Refused(error=error):
                self.fail(error)
            case Died(error=error):
                self._write(lambda session: self._release(session, reason=error.message, error=error))
            case Dropped(cause=Cause.CANCEL):
                self._write(lambda session: claims.settle_cancelled(session, self._claim))
            case Dropped(cause=Cause.SHUTDOWN):
                self.release("its worker was stopped")
            case Dropped(cause=Cause.LOST):
                raise LeaseLost(str(self._claim.job_id))

    def _publish(self, workspace: Workspace, lease: Lease) -> None:
        try:
            results = collect(workspace, self._claim, max_bytes=self._settings.max_result_bytes)
        except ProtocolViolation as violation:
            self.fail(violation.as_job_error())
            return
        # All of them from the start: a put that fails may have stored its object all the same.
        keys = [self._key(result) for result in results]
        try:
            # A worker that is told to stop still publishes: the work is done, and takes longer to do again.
            artifacts = [self._store(result, lease) for result in results]
            status = self._write(lambda session: claims.settle_succeeded(session, self._claim, artifacts))
        except Interrupted as interruption:
            self._discard(keys)
            self._settle(Dropped(interruption.cause))
            return
        except BaseException:
            self._discard(keys)
            raise
        log.info("attempt_ended", ending="finished", status=str(status))
        if status is not JobStatus.SUCCEEDED:
            self._discard(keys)

    def _release(
        self, session: Session, *, reason: str, error: JobError | None = None, pause_seconds: float = 0.0
    ) -> JobStatus:
        return claims.release(
            session,
            self._claim,
            reason=reason,
            child_died=error is not None,
            max_child_deaths=self._settings.max_child_deaths,
            error=error,
            pause_seconds=pause_seconds,
        )

    def _write(self, write: Callable[[Session], _T]) -> _T:
        """Commit one fenced write; while Postgres is away, try again."""
        give_up_at = time.monotonic() + self._settings.settle_seconds
        while True:
            try:
                with self._tools.sessions.begin() as session:
                    self._lease.write_pending(session)
                    return write(session)
            except DATABASE_OUTAGE:
                # The commit may have reached Postgres although its answer did not reach us.
                self._is_unsure = True
                if self._tools.shutdown.is_set() or time.monotonic() > give_up_at:
                    raise
                log.warning("database_unavailable", exc_info=True)
                self._tools.shutdown.wait(self._settings.heartbeat_seconds)

    def _key(self, result: Result) -> str:
        return attempt_key(self._claim.job_id, self._claim.attempt, result.path.name)

    def _store(self, result: Result, lease: Lease) -> StoredArtifact:
        key = self._key(result)
        stored = store_file(self._tools.store, key, result.path, result.media_type, lease.check)
        return StoredArtifact(
            name=result.name,
            key=key,
            bytes=stored.bytes,
            sha256=stored.sha256,
            media_type=result.media_type,
        )

    def _discard(self, keys: Sequence[str]) -> None:
        """Delete what was stored for nothing, unless it may have been published after all."""
        if self._is_unsure:
            return
        try:
            for key in keys:
                self._tools.store.delete(key)
        except StoreError:
            log.warning("objects_left_behind", exc_info=True)


def _goes_on(ending: Ending) -> bool:
    """Whether another attempt follows."""
    return isinstance(ending, Died) or ending == Dropped(Cause.SHUTDOWN)
