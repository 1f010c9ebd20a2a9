"""What the process that holds a model may ask of the kernel, and who needs it.

Not here, and so refused: sockets, starting programs (execve) and processes (fork), other processes' memory
(ptrace, process_vm_*), mounts and namespaces, keys, BPF, io_uring, userfaultfd, links and device nodes,
changing users, clocks or limits, locks: by those of a directory it can read, a worker knows whose attempts
have ended. Nor what changes a file without opening it (chmod, utime, chown, xattrs):
landlock does not look at those, so the child of an ordinary user's worker could change all that user's files.
"""

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_FILES = """read write readv writev pread64 pwrite64 preadv pwritev lseek open openat close close_range creat
dup dup2 dup3 fcntl fsync fdatasync sync_file_range ftruncate fadvise64 stat fstat
lstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd chdir fchdir
umask getdents getdents64 mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2"""

_MEMORY = "mmap munmap mprotect mremap madvise mincore msync brk membarrier"

_THREADS = """clone futex futex_waitv set_robust_list get_robust_list rseq set_tid_address sched_yield
sched_getaffinity getcpu exit exit_group arch_prctl"""

_SIGNALS = """rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
restart_syscall pause kill tgkill"""

_ABOUT_ITSELF = """getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
getpgid getsid capget getrlimit prlimit64 getrusage sysinfo times uname getrandom getpriority
sched_getscheduler sched_getparam sched_get_priority_max sched_get_priority_min prctl"""

_TIME = "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time"

_WAITING = "poll ppoll select pselect6 pipe pipe2"

EXCEPTIONS = {
    "sendfile copy_file_range": "`shutil`, to copy files",
    "ioctl": "`isatty` and the size of a terminal, which Python asks for of every file it opens",
    "sched_setaffinity": "OpenMP, to place its threads",
    "get_mempolicy mbind set_mempolicy": "allocators that know of NUMA nodes",
}
"""Calls that a program could do without, each with who needs it here."""

# Never seen to work on a GPU yet: what the driver's own documentation and traces of others name.
_CUDA = """mlock munlock mlock2 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 memfd_create"""

_EVERYWHERE = (
    _FILES, _MEMORY, _THREADS, _SIGNALS, _ABOUT_ITSELF, _TIME, _WAITING,
    *EXCEPTIONS,
)  # fmt: skip

# CLONE_VM, _FS, _FILES, _SIGHAND and _THREAD: what of a thread may be seen in any other of its process.
_THREADS_SHARE = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_O_ACCMODE, _O_TRUNC = 0x3, 0x200
_OPENING = (0, 1, 2, 3, _O_TRUNC | 1, _O_TRUNC | 2, _O_TRUNC | 3)
# F_DUPFD, F_[GS]ETFD, F_[GS]ETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ; and seals.
_FCNTL, _FCNTL_OF_MEMFD = (0, 1, 2, 3, 4, 1030, 1032), (1033, 1034)
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)
_PR_GET_DUMPABLE, _PR_SET_NAME, _PR_GET_NAME = 3, 15, 16
_PR_CAPBSET_READ, _PR_GET_NO_NEW_PRIVS, _PR_SET_VMA = 23, 39, 0x5356_4D41


@dataclass(frozen=True)
class Condition:
    """The masked low half of an argument must be one of the values.

    The kernel itself reads no more of these arguments than that half.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFF_FFFF


NEVER_CHANGES_LIMITS = "prlimit64"
"""Allowed where its third argument, the limits to set, is no address at all."""

ANSWERS = {"clone3": errno.ENOSYS, "fallocate": errno.EOPNOTSUPP}
"""Calls that are refused by another error than ``EPERM``, on which libc falls back.

The arguments of ``clone3`` lie in memory, where a filter cannot look; there is ``clone``. ``fallocate`` takes
a disk faster than anybody looks; ``posix_fallocate`` writes instead.
"""


def allowed(*, gpu: bool) -> Iterator[str]:
    """Names of the calls that are allowed, some of them conditionally."""
    for group in (*_EVERYWHERE, *((_CUDA,) if gpu else ())):
        yield from group.split()


def conditions(pid: int, *, gpu: bool) -> Mapping[str, Condition]:
    """The conditions of those that have one.

    Args:
        pid: The process itself, whom alone it may signal.
        gpu: Whether it uses one; the driver speaks by ``ioctl``, with numbers of its own.
    """
    of_files = (_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX)
    of_itself = (
        _PR_GET_DUMPABLE,
        _PR_SET_NAME,
        _PR_GET_NAME,
        _PR_CAPBSET_READ,
        _PR_GET_NO_NEW_PRIVS,
        _PR_SET_VMA,
    )
    always = {
        "clone": Condition(0, (_THREADS_SHARE,), mask=_THREADS_SHARE),
        "kill": Condition(0, (pid,)),
        "tgkill": Condition(0, (pid,)),
        "prctl": Condition(0, of_itself),
        # To open a file to read can empty it; landlock looks at that, and at truncate, from Linux 6.2 on.
        "open": Condition(1, _OPENING, mask=_O_ACCMODE | _O_TRUNC),
        "openat": Condition(2, _OPENING, mask=_O_ACCMODE | _O_TRUNC),
        # Its own thread's, not another process of the same user's.
        "sched_setaffinity": Condition(0, (0,)),
        # Not F_SETOWN and F_SETSIG, which send any signal to any process of the same user; not leases, which
        # keep the worker waiting; not locks of bytes, any number of which the kernel keeps.
        "fcntl": Condition(1, (*_FCNTL, *_FCNTL_OF_MEMFD) if gpu else _FCNTL),
    }
    if gpu:
        return always
    # Pages of shared anonymous memory outlive their mapping, and then no limit on a process sees them. CUDA
    # pins host memory with it.
    shared = Condition(3, (0, _MAP_SHARED, _MAP_ANONYMOUS), mask=_MAP_SHARED | _MAP_ANONYMOUS)
    return {**always, "ioctl": Condition(1, of_files), "mmap": shared}
