"""`python -I -m worker.sandbox.climbs CONFINEMENT TRIAL ...`: tries to climb every wall from within.

It confines itself exactly as the process that holds a model does, says hello as that does, and waits for a
line. Then it tries what the walls are there to stop. `worker.sandbox.trials` starts it:

* `climb OUTSIDE [threads]` attempts what the kernel answers with an error, and leaves what came of it in a
  file. Until its standard input ends, it holds a file that it has deleted, for its parent to find.
* `spin` computes for ever, `hoard` takes more memory than it may, and `wait` does nothing for ever: whether
  and how they end, only their parent can tell.
"""

import _thread
import errno
import fcntl
import json
import mmap
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from worker.sandbox.confinement import Confinement, Wall, confine
from worker.sandbox.kernel import prctl, syscall

SUCCEEDED = "succeeded"
ANSWER = "answer.json"
HOARD_BYTES = 96 << 20

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
_PR_GET_NO_NEW_PRIVS = 39
_MORE_THREADS_THAN_ALLOWED = 1 << 14
_THREAD_STACK_BYTES = 1 << 16
_CAPABILITIES = re.compile(r"^Cap(?:Inh|Prm|Eff|Amb):\s+(?!0+$)\w+$", re.MULTILINE)


def main() -> None:
    """Do what the module says."""
    confinement, trial = Confinement.from_argument(sys.argv[1]), sys.argv[2]
    missing = confine(confinement)
    _say("hello", version=1)
    sys.stdin.readline()
    match trial:
        case "climb":
            outside, counts_threads = Path(sys.argv[3]), "threads" in sys.argv[4:]
            _climb(confinement, outside, missing, counts_threads=counts_threads)
        case "spin":
            while True:
                pass
        case "hoard":
            hoard = b"x" * HOARD_BYTES
            _say("done")
            signal.pause()
            del hoard
        case "wait":
            signal.pause()


def _climb(
    confinement: Confinement, outside: Path, missing: Mapping[Wall, str], *, counts_threads: bool
) -> None:
    climbs: dict[str, Callable[[], object]] = {
        **_ordinary(confinement, outside),
        **_raw(_NUMBERS.get(os.uname().machine, {})),
    }
    if confinement.own_user:
        climbs["be the worker's user"] = _be_root
    if counts_threads:  # the kernel, that is; otherwise the parent does
        climbs["start threads without end"] = _start_threads
    own = Path(confinement.writable)
    answer = {
        "missing": {str(wall): reason for wall, reason in missing.items()},
        "outcomes": {name: _attempt(climb) for name, climb in climbs.items()},
    }
    (own / ANSWER).write_text(json.dumps(answer))
    with (own / "hidden").open("wb") as hidden:
        hidden.write(bytes(_HIDDEN_BYTES))
        hidden.flush()
        Path(hidden.name).unlink()
        _say("done")
        sys.stdin.read()


def _say(kind: str, **values: object) -> None:
    print(json.dumps({"type": kind, **values}), flush=True)  # noqa: T201 - to its parent


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
        "lock a file": lambda: fcntl.flock(0, fcntl.LOCK_SH),
        "slow its parent down": lambda: os.sched_setaffinity(os.getppid(), {0}),
        **({} if confinement.gpu else {"share anonymous memory": lambda: mmap.mmap(-1, 4096)}),
        "become root": lambda: os.setuid(0),
        "keep a capability": _keep_capability,
        "gain rights from a program's file": _gain_rights,
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


def _keep_capability() -> None:
    if not _CAPABILITIES.search(Path("/proc/self/status").read_text()):
        raise PermissionError(errno.EPERM, "it has none")


def _gain_rights() -> None:
    if prctl("PR_GET_NO_NEW_PRIVS", _PR_GET_NO_NEW_PRIVS):
        raise PermissionError(errno.EPERM, "no_new_privs is set")


def _be_root() -> None:
    """Where it has a user of its own, the worker is root."""
    if 0 not in {*os.getresuid(), *os.getresgid(), *os.getgroups()}:
        raise PermissionError(errno.EPERM, "nothing of it is root's")


def _start_threads() -> None:
    _thread.stack_size(_THREAD_STACK_BYTES)
    going_on = _thread.allocate_lock()

    def wait() -> None:
        with going_on:
            pass

    with going_on:
        try:
            for _ in range(_MORE_THREADS_THAN_ALLOWED):
                _thread.start_new_thread(wait, ())
        except RuntimeError as error:
            raise BlockingIOError(errno.EAGAIN, str(error)) from error


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


if __name__ == "__main__":
    main()
