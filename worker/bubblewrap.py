"""bubblewrap as the outermost wall: namespaces with nothing in them but what a child needs.

The walls within do not rely on it, and hold where it is missing. It adds that they have less behind them: no
other process, no network but an empty one, and no file but the interpreter's, the system's libraries and the
attempt's own.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from worker.environment import child_environment
from worker.identity import Identity, installation, start_as
from worker.sandbox.nodes import own_nodes
from worker.settings import WorkerSettings
from worker.users import ChildUsers, borrowed
from worker.workspace import Workspace

log = structlog.get_logger(__name__)

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
    "/sys/devices/system", "/sys/kernel/mm",
)  # fmt: skip
_OF_GPUS = ("/opt", "/etc/OpenCL", "/sys/bus", "/sys/devices", "/sys/module")
_PROBE_SECONDS = 60.0
# As seen from within: how many processes there are, which networks, and whether the machine's files are.
_PROBE = """
import json, os, socket, sys, pydantic, worker.child
processes = [name for name in os.listdir("/proc") if name.isdigit()]
networks = [name for _, name in socket.if_nameindex()]
print(json.dumps([len(processes), networks, os.path.exists("/etc/passwd"), os.path.exists(sys.argv[1])]))
"""
# bubblewrap's own first process, and the probe.
_EXPECTED = [2, ["lo"], False, True]


@dataclass(frozen=True)
class Bubblewrap:
    """How to start a program within.

    Attributes:
        program: Path of ``bwrap``.
        gpu: Whether children need the devices of a GPU.
    """

    program: str
    gpu: bool

    PARENT = 1
    """Who a child sees as its parent: bubblewrap's own process, which ends with the worker."""

    def wrap(
        self, command: Sequence[str], identity: Identity | None, readable: Path, writable: Path
    ) -> tuple[str, ...]:
        """The command that starts another one within.

        Args:
            command: What to start.
            identity: The user it will change to once it is within.
            readable: A directory that it sees.
            writable: One in it that it may also write to.
        """
        options = ["--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        if os.geteuid() != 0:
            options += ["--unshare-user"]
        elif identity is not None:
            options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        shown = (*_SYSTEM, *(_OF_GPUS if self.gpu else ()), *installation(), readable.resolve())
        for path in map(Path, shown):
            options += [*_passable(path), *_shown(path)]
        options += ["--proc", "/proc", "--dev", "/dev"]
        for device in own_nodes() if self.gpu else ():
            options += ["--dev-bind", str(device), str(device)]
        writable = writable.resolve()
        options += ["--bind", str(writable), str(writable), "--remount-ro", "/", "--chdir", str(writable)]
        return (self.program, *options, "--", *command)


def find_bubblewrap(settings: WorkerSettings, users: ChildUsers | None, *, gpu: bool) -> Bubblewrap | None:
    """Find bubblewrap, and try it; where it is missing or may not do its work, the log says so."""
    program = shutil.which("bwrap") if settings.bubblewrap == "auto" else None
    if program is None:
        log.info("no_bubblewrap", reason="not installed" if settings.bubblewrap == "auto" else "switched off")
        return None
    bubblewrap = Bubblewrap(program, gpu)
    root = settings.work_dir / "self-test" / uuid4().hex
    with borrowed(users) as identity, Workspace(root, identity) as workspace:
        reason = _fault(bubblewrap, workspace)
    if reason is not None:
        log.warning("bubblewrap_unusable", reason=reason)
        return None
    log.info("bubblewrap_used", program=program)
    return bubblewrap


def _fault(bubblewrap: Bubblewrap, workspace: Workspace) -> str | None:
    """What is wrong with it here."""
    with start_as(
        workspace.identity,
        (sys.executable, "-I", "-c", _PROBE, str(workspace.inputs)),
        workspace.root,
        cwd=workspace.output,
        env=child_environment(workspace.output),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        outer_wall=bubblewrap,
    ) as probe:
        try:
            said, complaints = probe.communicate(timeout=_PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            probe.kill()
            return f"no answer within {_PROBE_SECONDS:.0f} s"
    if probe.returncode != 0:
        return complaints.decode(errors="replace").strip().rpartition("\n")[2]
    seen = json.loads(said)
    return None if seen == _EXPECTED else f"within, {seen} was seen instead of {_EXPECTED}"


def _shown(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]


def _passable(path: Path) -> list[str]:
    """The directories on the way to a path, which without a word would be root's alone."""
    return [word for place in [*path.parents][-2::-1] for word in ("--perms", "0755", "--dir", str(place))]
