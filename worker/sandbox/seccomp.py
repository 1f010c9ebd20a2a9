"""Which system calls a process may make: a seccomp filter, assembled here as classic BPF.

The filter is an allow-list. What is not on it is answered with EPERM, so that a library that tries it says
what it could not do; a call newer than our tables with ENOSYS, on which libraries fall back. Another
architecture's calls kill the process: their numbers would mean something else.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.sandbox import policy, syscalls
from worker.sandbox.kernel import prctl

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_LOAD, _AND, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6], little endian on both.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32_BIT = 0x4000_0000


@dataclass(frozen=True)
class Architecture:
    """AUDIT_ARCH_* and the numbers of its calls."""

    audit: int
    numbers: Mapping[str, int]


ARCHITECTURES = {
    "x86_64": Architecture(0xC000_003E, syscalls.X86_64),
    "aarch64": Architecture(0xC000_00B7, syscalls.AARCH64),
}

_Instruction = tuple[int, int, int, int]


# Both halves of the third argument: a pointer.
_READS_LIMITS: tuple[_Instruction, ...] = (
    (_LOAD, 0, 0, _ARGUMENTS + 16),
    (_JUMP_EQUAL, 0, 3, 0),
    (_LOAD, 0, 0, _ARGUMENTS + 20),
    (_JUMP_EQUAL, 0, 1, 0),
    (_RETURN, 0, 0, _ALLOW),
    (_RETURN, 0, 0, _ERRNO | errno.EPERM),
)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def restrict(*, gpu: bool) -> None:
    """Allow this process the calls of the policy from now on, for good. ``no_new_privs`` must be set.

    Raises:
        OSError: The kernel refused, or there are no tables for this machine.
    """
    architecture = ARCHITECTURES.get(os.uname().machine)
    if architecture is None:
        raise OSError(errno.ENOSYS, f"no table of system calls for {os.uname().machine}")
    code = b"".join(struct.pack("=HBBI", *line) for line in assemble(architecture, os.getpid(), gpu=gpu))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    prctl("PR_SET_SECCOMP", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program)


def assemble(architecture: Architecture, pid: int, *, gpu: bool) -> list[_Instruction]:
    """The filter's instructions.

    Args:
        architecture: Whose numbers.
        pid: The process that may be signalled, which is the one the filter is for.
        gpu: Whether it uses one.
    """
    numbers = architecture.numbers
    lines: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_OR_EQUAL, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_JUMP_GREATER_OR_EQUAL, 0, 1, syscalls.LAST_KNOWN + 1),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    conditions = policy.conditions(pid, gpu=gpu)
    for name in policy.allowed(gpu=gpu):
        if name in numbers and name not in {*conditions, policy.NEVER_CHANGES_LIMITS}:
            lines += [(_JUMP_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    for name, condition in conditions.items():
        if name in numbers:
            block = _conditional(condition)
            lines += [(_JUMP_EQUAL, 0, len(block), numbers[name]), *block]
    lines += [(_JUMP_EQUAL, 0, len(_READS_LIMITS), numbers[policy.NEVER_CHANGES_LIMITS]), *_READS_LIMITS]
    for name, answer in policy.ANSWERS.items():
        lines += [(_JUMP_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERRNO | answer)]
    return [*lines, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _conditional(condition: "policy.Condition") -> Sequence[_Instruction]:
    """Allow where the condition holds."""
    values = condition.values
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument),
        (_AND, 0, 0, condition.mask),
        *((_JUMP_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
