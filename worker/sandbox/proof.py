"""Whether the walls stand on this machine: shown by a process that tries to climb them."""

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from worker.environment import child_environment
from worker.identity import start_as
from worker.sandbox.climbs import SUCCEEDED
from worker.sandbox.confinement import Confinement, Wall
from worker.settings import WorkerSettings
from worker.usage import deleted_bytes
from worker.users import ChildUsers, borrowed
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

_COMMAND = (sys.executable, "-I", "-m", "worker.sandbox.climbs")
_SECONDS = 60.0
_MAX_FILE_BYTES = 1 << 20

_BY_LANDLOCK = {
    "read a file outside", "list a directory outside", "write a file outside",
    "remove a file outside", "read its parent's environment",
}  # fmt: skip
_BY_LIMITS = {"write a file that is too large": "EFBIG", "open too many files": "EMFILE"}
_HARMLESS = {"use its own directory"}
# To libc this is how a kernel says that it has no such call.
_ABSENT = {"call clone3": "ENOSYS"}


class SandboxError(Exception):
    """A wall is missing on this machine, and the settings do not allow to do without."""


@dataclass(frozen=True)
class Climb:
    """One attempt.

    Attributes:
        attempt: What was tried.
        wall: What has to stop it; None for what has to succeed.
        expected: How: the name of an error.
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


def prove(settings: WorkerSettings, users: ChildUsers | None, device: str) -> tuple[Climb, ...]:
    """Start a process as children are started, let it try to climb the walls, and judge.

    Args:
        settings: Of the worker.
        users: Who children run as.
        device: Torch device of the children.

    Raises:
        SandboxError: A wall is missing or was climbed, and ``settings.sandbox`` is ``strict``.
        OSError: The process could not be started.
    """
    root = settings.work_dir / "self-test" / uuid4().hex
    with borrowed(users) as identity, Workspace(root, identity) as workspace:
        outside = root / "outside"
        outside.mkdir()
        outside.chmod(0o777)  # nothing but the walls stands before it
        (outside / "file").write_text("outside")
        (outside / "file").chmod(0o666)
        confinement = Confinement(
            writable=str(workspace.output),
            readable=(str(workspace.inputs),),
            max_file_bytes=_MAX_FILE_BYTES,
            max_cpu_seconds=int(_SECONDS),
            parent=os.getpid(),
            own_user=identity is not None,
            gpu=needs_gpu(device),
            strict=False,
        )
        answer = _run(workspace, confinement, outside)
    climbs = tuple(_judge(attempt, outcome) for attempt, outcome in answer["outcomes"].items())
    _report(answer["missing"], climbs, is_strict=settings.sandbox == "strict")
    return climbs


def needs_gpu(device: str) -> bool:
    """Whether children on this device open a GPU's device nodes."""
    return device != "cpu" and any(Path("/dev").glob("nvidia*"))


def _run(workspace: Workspace, confinement: Confinement, outside: Path) -> dict[str, dict[str, str]]:
    with start_as(
        workspace.identity,
        (*_COMMAND, confinement.to_argument(), str(outside)),
        workspace.root,
        cwd=workspace.output,
        env=child_environment(workspace.output),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        line = _first_line(process)
        if line:
            _look_for_deleted_files(process.pid, workspace)
        elif line is None:
            process.kill()
        _, errors = process.communicate()
    if line is None:
        raise SandboxError(f"the sandbox's self-test did not end within {_SECONDS:.0f} s")
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise SandboxError(f"the sandbox's self-test ended with {process.returncode}: {words}")
    answer: dict[str, dict[str, str]] = json.loads(line)
    return answer


def _first_line(process: "subprocess.Popen[bytes]") -> bytes | None:
    """What it says first, nothing at all where it ends instead, or None where it does neither."""
    if process.stdout is None:
        raise RuntimeError("the self-test was started without its pipes")
    is_ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
    return process.stdout.readline() if is_ready else None


def _look_for_deleted_files(pid: int, workspace: Workspace) -> None:
    disk, _ = deleted_bytes(pid, workspace.output, largest=_MAX_FILE_BYTES)
    if disk == 0:
        log.warning("deleted_files_not_counted", remedy="give the worker CAP_SYS_PTRACE, or an ordinary user")


def _judge(attempt: str, outcome: str) -> Climb:
    if attempt in _HARMLESS:
        return Climb(attempt, None, SUCCEEDED, outcome)
    if attempt in _BY_LANDLOCK:
        return Climb(attempt, Wall.LANDLOCK, "EACCES", outcome)
    if attempt in _BY_LIMITS:
        return Climb(attempt, Wall.LIMITS, _BY_LIMITS[attempt], outcome)
    return Climb(attempt, Wall.SECCOMP, _ABSENT.get(attempt, "EPERM"), outcome)


def _report(missing: dict[str, str], climbs: tuple[Climb, ...], *, is_strict: bool) -> None:
    broken = [f"{climb.attempt}: {climb.outcome}" for climb in climbs if not climb.held]
    if not (missing or broken):
        log.info("sandbox_proved", walls=[wall.value for wall in Wall], climbs=len(climbs))
        return
    if is_strict:
        reasons = "; ".join([*(f"no {wall} ({reason})" for wall, reason in missing.items()), *broken])
        raise SandboxError(
            f"uploaded models would not be confined: {reasons}. Run the worker on Linux 5.19 or newer with "
            "landlock and seccomp allowed to it; LADDER_SANDBOX=best-effort accepts what is missing."
        )
    log.warning("sandbox_incomplete", missing=missing, climbed=broken)
