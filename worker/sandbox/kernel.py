"""The system calls that libc has no function for, or whose errors Python hides."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def syscall(name: str, number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call.

    Raises:
        OSError: The kernel refused.
    """
    result: int = _libc.syscall(ctypes.c_long(number), *map(_word, arguments))
    if result < 0:
        raise _error(name)
    return result


def prctl(name: str, option: int, *arguments: int | ctypes.Structure) -> int:
    """Call ``prctl``; arguments not given are 0, as it insists for some options.

    Raises:
        OSError: The kernel refused.
    """
    words = [
        ctypes.byref(argument) if isinstance(argument, ctypes.Structure) else ctypes.c_ulong(argument)
        for argument in (*arguments, 0, 0, 0, 0)[:4]
    ]
    result: int = _libc.prctl(option, *words)
    if result < 0:
        raise _error(f"prctl({name})")
    return result


def _word(argument: int | ctypes.Array[ctypes.c_char] | None) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")
