"""Gives up what the process that holds a model does not need, before it reads a byte of an upload.

Uses nothing but the standard library: what is imported before the walls stand runs outside them.
"""

import errno
import importlib.util
import json
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable
from ctypes import create_string_buffer
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from worker.sandbox import landlock, seccomp
from worker.sandbox.kernel import prctl, syscall
from worker.sandbox.landlock import Right
from worker.sandbox.nodes import own_nodes

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x2008_0522

_MAX_OPEN_FILES = 1_024
# Of what an ordinary user may have, one in so many is left to the worker, which is that user too.
_WORKERS_SHARE = 8

MAX_THREADS = 512
"""Threads of one child.

Half of what a container of docker-compose.yml may have: the worker in there must be able to start its own. A
child needs two for each core, those of OpenMP for the forward pass and for the backward pass, and some more.
"""

_OUR_PACKAGES = ("ladder_core", "ladder_schema", "worker")
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime",
    "/dev/urandom", "/dev/random",
    # How many cores, nodes and pages there are: OpenMP, oneDNN and the allocators size themselves by these.
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel",
    "/sys/devices/system", "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip
# Never seen to work on a GPU yet.
_GPU_READS = (
    "/dev/zero",
    "/proc/driver/nvidia",
    "/proc/devices",
    "/sys/bus/pci",
    "/sys/devices",
    "/sys/module",
    "/opt",
    "/etc/OpenCL",
)


class Wall(StrEnum):
    """What stands between a model and the machine; the last three are raised by its parent."""

    LIMITS = "limits"
    CAPABILITIES = "capabilities"
    NO_NEW_PRIVILEGES = "no_new_privs"
    PARENT_DEATH = "parent death"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    USER = "user of its own"
    CONTROL_GROUP = "control group"
    WATCH = "parent's watch"


@dataclass(frozen=True)
class Confinement:
    """What one child keeps.

    Attributes:
        writable: The one directory it may write to.
        readable: Where its inputs lie.
        max_file_bytes: Largest file it may write.
        max_cpu_seconds: CPU time after which the kernel ends it, should its parent not.
        parent: The process whose end must be its own.
        own_user: Whether it is a user of its own, not the worker's: the kernel counts processes by user.
        gpu: Whether it needs the devices of a GPU.
        strict: Whether a wall that this kernel does not have is an error.
    """

    writable: str
    readable: tuple[str, ...]
    max_file_bytes: int
    max_cpu_seconds: int
    parent: int
    own_user: bool
    gpu: bool
    strict: bool

    def to_argument(self) -> str:
        """One word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls, word: str) -> Self:
        """What ``to_argument`` made."""
        values = json.loads(word)
        return cls(**{**values, "readable": tuple(values["readable"])})


def confine(confinement: Confinement) -> dict[Wall, str]:
    """Raise every wall around this process and all it may start, and tie its life to its parent's.

    It must have one thread only: others would stay outside.

    Returns:
        The walls that could not be raised, each with the reason; empty unless ``strict`` is false.

    Raises:
        OSError: The kernel refused a wall.
    """
    missing: dict[Wall, str] = {}
    raising: dict[Wall, Callable[[], None]] = {
        Wall.LIMITS: lambda: _limit(confinement),
        Wall.CAPABILITIES: _drop_capabilities,
        Wall.NO_NEW_PRIVILEGES: lambda: void(prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)),
        Wall.PARENT_DEATH: lambda: _follow_parent(confinement.parent),
        Wall.LANDLOCK: lambda: landlock.restrict(granted(confinement)),
        Wall.SECCOMP: lambda: seccomp.restrict(gpu=confinement.gpu),
    }
    for wall, raise_wall in raising.items():
        try:
            raise_wall()
        except OSError as error:
            if confinement.strict or error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            missing[wall] = str(error)
    return missing


def void(_: object) -> None:
    """Forget a result."""


def granted(confinement: Confinement) -> dict[Path, Right]:
    """Rights to files, by the path they hold below."""
    rights = dict.fromkeys(_interpreter(), landlock.READ)
    rights |= dict.fromkeys(map(Path, _SYSTEM), landlock.READ)
    for place in map(Path, sys.path):
        # The directory our packages lie in may be a checkout with other things in it: names only.
        rights.setdefault(place, landlock.READ if place.name == "site-packages" else landlock.LIST)
    rights |= dict.fromkeys(_packages(), landlock.READ)
    rights |= dict.fromkeys(map(Path, confinement.readable), landlock.READ)
    rights[Path("/dev/null")] = Right.READ_FILE | Right.WRITE_FILE
    rights[Path(confinement.writable)] = landlock.OWN
    if confinement.gpu:
        rights |= dict.fromkeys(map(Path, _GPU_READS), landlock.READ)
        rights |= dict.fromkeys(own_nodes(), landlock.DEVICE | Right.READ_DIR)
    return rights


def _interpreter() -> set[Path]:
    """Where Python's own library and the installed packages lie."""
    return {Path(place) for place in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix)}


def _packages() -> list[Path]:
    specifications = map(importlib.util.find_spec, _OUR_PACKAGES)
    return [Path(place) for spec in specifications if spec for place in spec.submodule_search_locations or ()]


def _limit(confinement: Confinement) -> None:
    # 1 and not 0: a kernel that hands core dumps to a program does so unless the limit is 1 (core(5)).
    _set_limit(resource.RLIMIT_CORE, 1)
    _set_limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _set_limit(resource.RLIMIT_FSIZE, confinement.max_file_bytes)
    _set_limit(resource.RLIMIT_CPU, confinement.max_cpu_seconds)
    if confinement.own_user:
        _set_limit(resource.RLIMIT_NPROC, MAX_THREADS)
    else:
        _leave_threads_to_parent()


def _leave_threads_to_parent() -> None:
    """The kernel counts all that a user has: with no thread left, the worker could not even renew a lease."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:
        _set_limit(resource.RLIMIT_NPROC, soft - soft // _WORKERS_SHARE)


def _set_limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _drop_capabilities() -> None:
    """Root keeps its name only; others have none to begin with."""
    header = create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    nothing = create_string_buffer(24)
    number = _CAPSET.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {os.uname().machine}")
    syscall("capset", number, header, nothing)


def _follow_parent(parent: int) -> None:
    # A change of user would clear this; the user was changed before this program was started. What the kernel
    # follows is the thread that started us: the worker's, which stays for as long as the worker does.
    prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the line above, so no signal will come.
        os.kill(os.getpid(), signal.SIGKILL)
