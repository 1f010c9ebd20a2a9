"""How children of this worker are started: for a job, and to see whether one could be."""

import os
from contextlib import AbstractContextManager, nullcontext

from worker.bubblewrap import Bubblewrap
from worker.cgroups import Cgroup
from worker.limits import group_limit
from worker.process import ChildProcess
from worker.sandbox import Confinement
from worker.sandbox.proof import needs_gpu
from worker.tools import Tools
from worker.workspace import Workspace


def child_group(tools: Tools, name: str) -> AbstractContextManager[Cgroup | None]:
    """The control group of one child, where children have them.

    Raises:
        OSError: On entering: the kernel refuses it.
    """
    return nullcontext() if tools.cgroups is None else tools.cgroups.group(name, group_limit(tools.settings))


def start_child(tools: Tools, workspace: Workspace, cgroup: Cgroup | None) -> ChildProcess:
    """Start a child that confines itself to its workspace, and then waits for an order.

    Raises:
        OSError: There is no room for another process.
    """
    settings = tools.settings
    confinement = Confinement(
        writable=str(workspace.output.resolve()),
        readable=(str(workspace.inputs.resolve()),),
        max_file_bytes=settings.max_result_bytes,
        max_cpu_seconds=int(settings.job_max_seconds) * (os.cpu_count() or 1) + 1,
        parent=os.getpid() if tools.bubblewrap is None else Bubblewrap.PARENT,
        own_user=workspace.identity is not None,
        gpu=needs_gpu(tools.device),
        strict=settings.sandbox == "strict",
    )
    return ChildProcess(
        [*tools.child_command, confinement.to_argument()],
        work_dir=workspace.output,
        log=workspace.log,
        max_log_bytes=settings.max_log_bytes,
        identity=workspace.identity,
        cgroup=cgroup,
        outer_wall=tools.bubblewrap,
    )
