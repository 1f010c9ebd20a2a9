"""`python -I -m worker.sandbox.climbs CONFINEMENT OUTSIDE`: tries to climb every wall from within.

It confines itself exactly as the process that holds a model does, then attempts what the walls are there to
stop, and prints what came of it as a line of JSON. `worker.sandbox.proof` starts it and judges. Until its
standard input ends, it holds a file that it has deleted, for its parent to find.
"""

import errno
import fcntl
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from worker.sandbox.confinement import Confinement, confine
from worker.sandbox.kernel import syscall

SUCCEEDED = "succeeded"

_X86_64 = {
    "ptrace": 101, "mount": 165, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
    "process_vm_readv": 310, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425, "clone3": 435,
}  # fmt: skip
_AARCH64 = {
    "mount": 40, "unshare": 97, "ptrace": 117, "keyctl": 219, "perf_event_open": 241,
    "process_vm_readv": 270, "bpf": 280, "userfaultfd": 282, "io_uring_setup": 425, "clone3": 435,
}  # fmt: skip
_NUMBERS = {"x86_64": _X86_64, "aarch64": _AARCH64}
_HIDDEN_BYTES = 1 << 16
_PTRACE_ATTACH, _CLONE_NEWUSER = 16, 0x1000_0000


def main() -> None:
    """Do what the module says."""
    confinement, outside = Confinement.from_argument(sys.argv[1]), Path(sys.argv[2])
    missing = confine(confinement)
    climbs = {**_ordinary(confinement, outside), **_raw(_NUMBERS.get(os.uname().machine, {}))}
    outcomes = {name: _attempt(climb) for name, climb in climbs.items()}
    with (Path(confinement.writable) / "hidden").open("wb") as hidden:
        hidden.write(bytes(_HIDDEN_BYTES))
        hidden.flush()
        Path(hidden.name).unlink()
        walls = {str(wall): reason for wall, reason in missing.items()}
        print(json.dumps({"missing": walls, "outcomes": outcomes}), flush=True)  # noqa: T201 - its whole purpose
        sys.stdin.read()


def _attempt(climb: Callable[[], object]) -> str:
    try:
        climb()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError:
        return "EPERM"  # what Python makes of it where a limit would be raised
    return SUCCEEDED


def _ordinary(confinement: Confinement, outside: Path) -> Mapping[str, Callable[[], object]]:
    own = Path(confinement.writable)
    return {
        "use its own directory": lambda: _use(own / "file"),
        "read a file outside": (outside / "file").read_bytes,
        "list a directory outside": lambda: list(outside.iterdir()),
        "write a file outside": lambda: (outside / "new").write_bytes(b"new"),
        "empty a file outside": lambda: os.truncate(outside / "file", 0),
        "empty a file outside by reading it": lambda: os.open(outside / "file", os.O_RDONLY | os.O_TRUNC),
        "remove a file outside": (outside / "file").unlink,
        "change a file's mode": lambda: (own / "file").chmod(0o4777),
        "change a file's times": lambda: os.utime(own / "file"),
        "link to a file outside": lambda: (own / "link").symlink_to(outside / "file"),
        "read its parent's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "write a file that is too large": lambda: _grow(own / "large", confinement.max_file_bytes + 1),
        "open too many files": lambda: _open_many(own / "file"),
        "change a limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "open a pair of sockets": socket.socketpair,
        "start a process": _fork,
        "start a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "have its parent signalled": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid()),
        "lock bytes of a file": lambda: _lock_bytes(own / "file"),
        "slow its parent down": lambda: os.sched_setaffinity(os.getppid(), {0}),
        **({} if confinement.gpu else {"share anonymous memory": lambda: mmap.mmap(-1, 4096)}),
        "become root": lambda: os.setuid(0),
        "start a session of its own": os.setsid,
    }


def _raw(numbers: Mapping[str, int]) -> Mapping[str, Callable[[], object]]:
    """Calls that Python has no function for; those that would take memory get none that is valid."""
    arguments: Mapping[str, tuple[int, ...]] = {
        "ptrace": (_PTRACE_ATTACH, os.getppid()),
        "unshare": (_CLONE_NEWUSER,),
        "process_vm_readv": (os.getppid(),),
        "userfaultfd": (1,),
    }
    return {
        f"call {name}": partial(syscall, name, number, *(*arguments.get(name, ()), 0, 0, 0))
        for name, number in numbers.items()
    }


def _use(path: Path) -> None:
    path.write_bytes(b"own")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        pages[0] = 1


def _grow(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _open_many(path: Path) -> None:
    files: list[int] = []
    try:
        while len(files) < 1 << 16:
            files.append(os.open(path, os.O_RDONLY))
    finally:
        for file in files:
            os.close(file)


def _lock_bytes(path: Path) -> None:
    with path.open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


if __name__ == "__main__":
    main()
