"""The work of an attempt: its inputs, its child, and how that ended. Nothing is settled here."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog

from ladder_jobs import tracing
from ladder_jobs.claims import Claim, StoredCheckpoint, UploadRef
from ladder_schema.protocol import CheckpointName, Start
from worker.breakable import Grace, breakable
from worker.cgroups import Cgroup
from worker.checkpoints import CheckpointKeeper, fetch_checkpoints
from worker.endings import Cause, Died, Dropped, Ending, InputLost, Interrupted, OutOfTime, Refused
from worker.launch import child_group, start_child
from worker.lease import Lease
from worker.room import require_room
from worker.runtime import Runtime
from worker.supervisor import Supervisor
from worker.tools import Tools
from worker.transfer import download
from worker.workspace import Workspace

log = structlog.get_logger(__name__)


class Work:
    """One claim's work, in a workspace, while the lease is held; its time runs from when this is made."""

    def __init__(self, tools: Tools, claim: Claim, workspace: Workspace, lease: Lease) -> None:
        self._tools = tools
        self._claim = claim
        self._workspace = workspace
        self._lease = lease
        self._runtime = Runtime.of(claim, tools.settings)
        self._grace = Grace(tools.settings.store_grace_seconds)
        self._is_child_gone = False

    def do(self, kept: Mapping[CheckpointName, StoredCheckpoint]) -> Ending:
        """Fetch the inputs, start a child on them, and stay with it until it is gone.

        Args:
            kept: What earlier attempts left to go on from.

        Raises:
            OSError: The disk failed; with ``ENOSPC``, it is full or has no room for the inputs.
            OtherVersion: The child is of another version than this worker.
            ladder_jobs.objects.StoreError: The object store failed.
        """
        try:
            with tracing.span("fetch"):
                self._require_room(kept)
                self._fetch(self._claim.model, "model")
                self._fetch(self._claim.dataset, "dataset")
                resume_from = fetch_checkpoints(self._tools.store, kept, self._workspace, self._check)
        except InputLost as loss:
            return Refused(loss.as_job_error())
        except Interrupted as interruption:
            return Dropped(interruption.cause)
        except OutOfTime:
            return Refused(self._runtime.as_job_error(None))
        name = f"{self._claim.job_id}-{self._claim.attempt}"
        with self._keeper() as keeper, child_group(self._tools, name) as cgroup:
            try:
                ending = self._supervise(cgroup, keeper, resume_from)
            finally:
                self._is_child_gone = True
            keeper.close(wanted=_goes_on(ending))
        return ending

    def _require_room(self, kept: Mapping[CheckpointName, StoredCheckpoint]) -> None:
        """Fetch nothing that would leave too little of the disk to the jobs that share it."""
        claim = self._claim
        incoming = claim.model.bytes + claim.dataset.bytes + sum(stored.bytes for stored in kept.values())
        require_room(self._workspace.root, incoming + self._tools.settings.min_free_bytes)

    def _fetch(self, upload: UploadRef, name: str) -> None:
        path = self._workspace.inputs / name
        breakable(partial(download, self._tools.store, upload, path), self._check)
        self._workspace.hand_over(path)

    def _check(self) -> None:
        """Break off a transfer that nobody waits for any more."""
        self._lease.check()
        if self._tools.shutdown.is_set():
            raise Interrupted(Cause.SHUTDOWN)
        if self._runtime.is_over:
            raise OutOfTime

    def _check_checkpoint(self) -> None:
        """Let a stopped worker store the last checkpoint, but not wait for it as long as the store likes."""
        self._lease.check()
        if self._grace.is_over(hurry=self._is_child_gone and self._tools.shutdown.is_set()):
            raise Interrupted(Cause.SHUTDOWN)

    def _keeper(self) -> CheckpointKeeper:
        return CheckpointKeeper(
            self._tools.sessions,
            self._tools.store,
            self._claim,
            self._workspace,
            check=self._check_checkpoint,
            max_bytes=self._tools.settings.max_result_bytes,
        )

    def _supervise(self, cgroup: Cgroup | None, keeper: CheckpointKeeper, resume_from: Path | None) -> Ending:
        child = start_child(self._tools, self._workspace, cgroup)
        log.info("child_started", pid=child.pid)
        supervisor = Supervisor(
            child,
            self._lease,
            self._tools.shutdown,
            self._tools.settings,
            self._runtime,
            self._workspace.root,
            on_checkpoint=keeper.note,
        )
        return supervisor.run(self._order(resume_from))

    def _order(self, resume_from: Path | None) -> Start:
        return Start(
            model=self._workspace.inputs / "model",
            dataset=self._workspace.inputs / "dataset",
            work_dir=self._workspace.output,
            device=self._tools.device,
            config=self._claim.config,
            resume_from=resume_from,
            checkpoint_seconds=self._tools.settings.checkpoint_seconds,
        )


def _goes_on(ending: Ending) -> bool:
    """Whether another attempt follows."""
    return isinstance(ending, Died) or ending == Dropped(Cause.SHUTDOWN)
