"""Who the processes that hold a model run as."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker import launcher
from worker.environment import child_environment

# Enough to prove that the interpreter, its standard library and our own packages can be read.
_PROBE = (sys.executable, "-I", "-c", "import encodings, json, pydantic, worker.child")
_PROBE_SECONDS = 60.0
_LAUNCHER = (sys.executable, "-I", "-S", str(Path(launcher.__file__).resolve()))


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


class OuterWall(Protocol):
    """Another program that a child is started by."""

    def wrap(
        self, command: Sequence[str], identity: Identity | None, readable: Path, writable: Path
    ) -> tuple[str, ...]:
        """The command that starts a command within it; its user is changed there."""


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
    outer_wall: OuterWall | None = None,
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
        outer_wall: What to start it within.

    Raises:
        OSError: It could not be started.
    """
    # Who makes the walls needs root's rights for it, and changes the user behind them.
    launches = identity is not None and (outer_wall is not None or identity.must_unveil)
    drops = identity is not None and not launches
    if identity is not None and launches:
        places = () if outer_wall is not None else (str(directory.resolve()), *installation())
        command = (*_LAUNCHER, str(identity.uid), str(identity.gid), *places, "--", *command)
    if outer_wall is not None:
        command = outer_wall.wrap(command, identity, directory, cwd)
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


def must_unveil(uid: int) -> bool | None:
    """Whether a user needs the launcher to reach Python here; None where they cannot even so."""
    for needed in (False, True):
        if _can_run_python(Identity(uid, uid, must_unveil=needed)):
            return needed
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


def installation() -> tuple[str, ...]:
    """Where the interpreter, the environment and our own packages lie."""
    places = (sys.base_prefix, sys.base_exec_prefix, sys.prefix, Path(__file__).parents[1])
    return tuple(sorted({str(Path(place).resolve()) for place in places}))
