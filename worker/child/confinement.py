"""Gives up what the child does not need, before it reads a byte of an upload."""

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_MAX_OPEN_FILES = 1_024
_MAX_PROCESSES = 4_096


def confine(*, max_file_bytes: int, own_user: bool) -> None:
    """Limit this process and all it may start, and tie its life to its parent's.

    Args:
        max_file_bytes: Largest file it may write.
        own_user: Whether it runs as the children's user, not the worker's. The kernel counts processes by
            user: the limit on them is shared by all of that user's, which are those of every child here.

    Raises:
        OSError: The kernel refused.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, max_file_bytes)
    if own_user:
        _limit(resource.RLIMIT_NPROC, _MAX_PROCESSES)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # A change of user would clear this; the user was changed before this program was started.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
