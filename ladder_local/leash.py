"""Run a command that cannot outlive its parent, if asked as another user.

Run as a script with ``python -I -S leash.py PARENT_PID SIGNAL UID GID COMMAND...``; UID and GID may be ``-``.

A script of its own rather than ``Popen(preexec_fn=...)``, which runs Python code between fork and exec and so
can deadlock in a process with threads. The order below matters: the kernel clears the death signal when
credentials change, and a parent that died before the signal was set never triggers it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, uid: str, gid: str, command: list[str]) -> None:
    """Become ``command``.

    Raises:
        OSError: The user cannot be changed, or the command not executed.
    """
    if gid != "-":
        os.setgroups([])
        os.setgid(int(gid))
    if uid != "-":
        os.setuid(int(uid))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(f"the parent {parent} is gone")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(command[0], command)  # noqa: S606 - the command is the stack's own, and there is no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
