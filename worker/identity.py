"""Who the processes that hold a model run as."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from worker.environment import child_environment
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

# Enough to prove that the interpreter, its standard library and our own packages can be read.
_PROBE = "import encodings, json, pydantic, worker.child"
_PROBE_SECONDS = 30.0


@dataclass(frozen=True)
class Identity:
    """User and group of a child; its work directory is given to them."""

    uid: int
    gid: int


def child_identity(settings: WorkerSettings) -> Identity | None:
    """Choose the identity of children: another than the worker's where that is possible.

    Returns:
        The identity to change to, or None where children stay what the worker is: because it is not root, or
        because that user could not read the Python installation (say, one below `/root`).
    """
    if os.geteuid() != 0:
        return None
    identity = Identity(settings.child_uid, settings.child_gid)
    if _can_run_python(identity):
        return identity
    log.warning(
        "children_run_as_root",
        reason=f"uid {identity.uid} cannot run {sys.executable}",
        remedy="install Python where every user can read it, or run the worker as an ordinary user",
    )
    return None


def _can_run_python(identity: Identity) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter and a constant
            [sys.executable, "-I", "-c", _PROBE],
            user=identity.uid,
            group=identity.gid,
            extra_groups=[],
            env=child_environment(Path("/")),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0
