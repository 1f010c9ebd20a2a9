"""Who the processes that hold a model run as."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from worker import launcher
from worker.environment import child_environment
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

# Enough to prove that the interpreter, its standard library and our own packages can be read.
_PROBE = (sys.executable, "-I", "-c", "import encodings, json, pydantic, worker.child")
_PROBE_SECONDS = 60.0
_LAUNCHER = (sys.executable, "-I", "-S", str(Path(launcher.__file__).resolve()))


class NoChildIdentityError(Exception):
    """Children would have to run as root, which nobody has allowed."""


@dataclass(frozen=True)
class Identity:
    """User and group of a child; its work directory is given to them.

    Attributes:
        uid: The user.
        gid: The group; the child has no other.
        must_unveil: Whether this user cannot reach the Python installation, so that the launcher has to bring
            it where they can.
    """

    uid: int
    gid: int
    must_unveil: bool = False


def start_as(
    identity: Identity | None,
    command: Sequence[str],
    directory: Path,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own.

    Args:
        identity: Who to start it as, if not as ourselves.
        command: The program, ours and never a user's, and its arguments.
        directory: The program's own, which it can reach and write to wherever it lies.
        cwd: Its current directory.
        env: Its whole environment.
        stdin: As for `subprocess.Popen`, like the following.
        stdout: Likewise.
        stderr: Likewise.

    Raises:
        OSError: It could not be started.
    """
    drops = identity is not None and not identity.must_unveil
    if identity is not None and identity.must_unveil:
        ids = (str(identity.uid), str(identity.gid))
        command = (*_LAUNCHER, *ids, str(directory.resolve()), *_installation(), "--", *command)
    return subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        start_new_session=True,
        user=identity.uid if identity is not None and drops else None,
        group=identity.gid if identity is not None and drops else None,
        extra_groups=[] if drops else None,
        bufsize=0,
    )


def child_identity(settings: WorkerSettings) -> Identity | None:
    """Choose the identity of children: another than the worker's where the worker is root.

    Returns:
        The identity to change to, or None where children stay what the worker is: because it is no root, or
        because the settings allow children of root and no other user can run Python here.

    Raises:
        NoChildIdentityError: The worker is root, its children would be too, and the settings do not allow it.
    """
    if os.geteuid() != 0:
        return None
    for must_unveil in (False, True):
        identity = Identity(settings.child_uid, settings.child_gid, must_unveil=must_unveil)
        if _can_run_python(identity):
            return identity
    reason = f"uid {settings.child_uid} cannot run {sys.executable}"
    if not settings.allow_root_children:
        raise NoChildIdentityError(
            f"uploaded models would run as root: {reason}. Install Python where every user can read it, "
            "or run the worker as an ordinary user; LADDER_ALLOW_ROOT_CHILDREN=true accepts it."
        )
    log.warning("children_run_as_root", reason=reason)
    return None


def _can_run_python(identity: Identity) -> bool:
    try:
        with start_as(
            identity,
            _PROBE,
            Path("/"),
            env=child_environment(Path("/")),
            cwd=Path("/"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as probe:
            try:
                return probe.wait(_PROBE_SECONDS) == 0
            finally:
                probe.kill()
    except (OSError, subprocess.SubprocessError):
        return False


def _installation() -> tuple[str, ...]:
    """Where the interpreter, the environment and our own packages lie."""
    places = (sys.base_prefix, sys.base_exec_prefix, sys.prefix, Path(__file__).parents[1])
    return tuple(sorted({str(Path(place).resolve()) for place in places}))
