"""Whether the walls stand on this machine: shown by processes that try to climb them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from worker.bubblewrap import Bubblewrap
from worker.cgroups import Cgroups
from worker.endings import ProtocolViolation
from worker.sandbox.climbs import SUCCEEDED
from worker.sandbox.confinement import Confinement, Wall
from worker.sandbox.trials import SEEN, TrialError, Trials
from worker.settings import WorkerSettings
from worker.users import ChildUsers, borrowed
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

_MAX_CPU_SECONDS = 60
_MAX_FILE_BYTES = 1 << 20

_BY_LANDLOCK = {
    "read a file outside", "list a directory outside", "write a file outside",
    "remove a file outside", "read its parent's environment",
}  # fmt: skip
_BY_OTHERS = {
    "write a file that is too large": (Wall.LIMITS, "EFBIG"),
    "open too many files": (Wall.LIMITS, "EMFILE"),
    "start threads without end": (Wall.LIMITS, "EAGAIN"),
    "compute without end": (Wall.LIMITS, "SIGKILL"),
    "allocate without end": (Wall.CONTROL_GROUP, "SIGKILL"),
    "be the worker's user": (Wall.USER, "EPERM"),
    "keep a capability": (Wall.CAPABILITIES, "EPERM"),
    "gain rights from a program's file": (Wall.NO_NEW_PRIVILEGES, "EPERM"),
    "outlive the worker": (Wall.PARENT_DEATH, "SIGKILL"),
    "hide a deleted file": (Wall.WATCH, SEEN),
    # To libc this is how a kernel says that it has no such call.
    "call clone3": (Wall.SECCOMP, "ENOSYS"),
}
_HARMLESS = {"use its own directory"}


class SandboxError(Exception):
    """A wall is missing on this machine, and the settings do not allow to do without."""


@dataclass(frozen=True)
class Climb:
    """One attempt.

    Attributes:
        attempt: What was tried.
        wall: What has to stop it; None for what has to succeed.
        expected: How: the name of an error, or of the signal that ends it.
        outcome: What happened.
    """

    attempt: str
    wall: Wall | None
    expected: str
    outcome: str

    @property
    def held(self) -> bool:
        """Whether it came out as it has to."""
        return self.outcome == self.expected


def prove(
    settings: WorkerSettings,
    users: ChildUsers | None,
    device: str,
    *,
    cgroups: Cgroups | None,
    bubblewrap: Bubblewrap | None,
) -> tuple[Climb, ...]:
    """Start processes as children are started, let them try to climb the walls, and judge.

    Args:
        settings: Of the worker.
        users: Who children run as.
        device: Torch device of the children.
        cgroups: Where children have control groups, if anywhere.
        bubblewrap: What children are started within, if anything.

    Raises:
        SandboxError: A wall is missing or was climbed, and ``settings.sandbox`` is ``strict``.
        OSError: A process could not be started.
    """
    root = settings.work_dir / "self-test" / uuid4().hex
    with borrowed(users) as identity, Workspace(root, identity) as workspace:
        own, outside = _places(workspace)
        confinement = Confinement(
            writable=str(own.resolve()),
            readable=(str(workspace.inputs.resolve()),),
            max_file_bytes=_MAX_FILE_BYTES,
            max_cpu_seconds=_MAX_CPU_SECONDS,
            parent=os.getpid() if bubblewrap is None else Bubblewrap.PARENT,
            own_user=identity is not None,
            gpu=needs_gpu(device),
            strict=False,
        )
        try:
            outcome = Trials(workspace, confinement, cgroups, bubblewrap).run(outside.resolve())
        except (TrialError, ProtocolViolation) as error:
            raise SandboxError(f"the sandbox's self-test failed: {error}") from error
    climbs = tuple(
        _judge(attempt, came_of_it, has_group=cgroups is not None)
        for attempt, came_of_it in outcome.climbs.items()
    )
    _report(outcome.missing, climbs, is_strict=settings.sandbox == "strict")
    return climbs


def needs_gpu(device: str) -> bool:
    """Whether children on this device open a GPU's device nodes."""
    return device != "cpu" and any(Path("/dev").glob("nvidia*"))


def _places(workspace: Workspace) -> tuple[Path, Path]:
    """The directory a child may write to, and one beside it, before which only the walls within stand.

    Both lie in what is the child's, since bubblewrap shows it nothing else that can be written to.
    """
    own, outside = workspace.output / "own", workspace.output / "outside"
    for place in (own, outside):
        place.mkdir()
        place.chmod(0o777)
    (outside / "file").write_text("outside")
    (outside / "file").chmod(0o666)
    return own, outside


def _judge(attempt: str, outcome: str, *, has_group: bool) -> Climb:
    if attempt in _HARMLESS:
        return Climb(attempt, None, SUCCEEDED, outcome)
    if attempt == "allocate without end" and not has_group:
        return Climb(attempt, Wall.WATCH, SEEN, outcome)
    if attempt in _BY_LANDLOCK:
        return Climb(attempt, Wall.LANDLOCK, "EACCES", outcome)
    wall, expected = _BY_OTHERS.get(attempt, (Wall.SECCOMP, "EPERM"))
    return Climb(attempt, wall, expected, outcome)


def _report(missing: Mapping[str, str], climbs: tuple[Climb, ...], *, is_strict: bool) -> None:
    broken = [f"{climb.attempt}: {climb.outcome}" for climb in climbs if not climb.held]
    if not (missing or broken):
        tried = {climb.wall for climb in climbs}
        log.info("sandbox_proved", walls=[wall.value for wall in Wall if wall in tried], climbs=len(climbs))
        return
    if is_strict:
        reasons = "; ".join([*(f"no {wall} ({reason})" for wall, reason in missing.items()), *broken])
        raise SandboxError(
            f"uploaded models would not be confined: {reasons}. Run the worker on Linux 5.19 or newer with "
            "landlock and seccomp allowed to it, and as root with CAP_SYS_PTRACE, by which it sees files "
            "that are deleted and held open; LADDER_SANDBOX=best-effort accepts what is missing."
        )
    log.warning("sandbox_incomplete", missing=missing, climbed=broken)
