"""`without_calls.py ERRNO NUMBER... -- COMMAND`: runs a command for which the kernel lacks some system calls.

What a kernel without landlock, or a container's policy, is to a program.
"""

import ctypes
import os
import struct
import sys

from worker.sandbox.kernel import prctl

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x0005_0000, 0x7FFF_0000


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    end = sys.argv.index("--")
    error, *numbers = map(int, sys.argv[1:end])
    lines = [(_LOAD, 0, 0, 0)]
    for number in numbers:
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]
    lines += [(_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)
    prctl("PR_SET_SECCOMP", _PR_SET_SECCOMP, _FILTER, _Program(len(lines), ctypes.addressof(code)))
    os.execv(sys.argv[end + 1], sys.argv[end + 1 :])


if __name__ == "__main__":
    main()
