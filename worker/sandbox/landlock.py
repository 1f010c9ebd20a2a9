"""Which files a process may reach, by Linux' landlock (kernel documentation, userspace-api/landlock).

A ruleset names the rights it takes away everywhere, and rules give some back below a path. It holds for this
process and whatever it starts, for good.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path

from worker.sandbox.kernel import syscall

# The numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1


class Right(IntFlag):
    """Rights to files, LANDLOCK_ACCESS_FS_*."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Right.READ_FILE | Right.READ_DIR
LIST = Right.READ_DIR
OWN = (
    READ | Right.WRITE_FILE | Right.REMOVE_DIR | Right.REMOVE_FILE | Right.MAKE_DIR | Right.MAKE_REG
    | Right.REFER | Right.TRUNCATE
)  # fmt: skip
DEVICE = Right.READ_FILE | Right.WRITE_FILE | Right.IOCTL_DEV

_OF_FILES = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV
_HIGHEST_RIGHT = {1: Right.MAKE_SYM, 2: Right.REFER, 3: Right.TRUNCATE, 4: Right.TRUNCATE}
_ABI_WITH_NETWORK, _ABI_WITH_SCOPES = 4, 6
_BIND_AND_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


def abi() -> int:
    """The version of landlock this kernel has; 0 where it has none or has it switched off."""
    try:
        return syscall("landlock_create_ruleset", _CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            return 0
        raise


def restrict(granted: Mapping[Path, Right]) -> None:
    """Give up every right to files but those granted, and all TCP, signals and abstract sockets.

    What an older landlock does not know it leaves as it was: TCP before ABI 4, signals before ABI 6.
    ``no_new_privs`` must be set.

    Args:
        granted: Rights below each path; paths that do not exist are passed over.

    Raises:
        OSError: The kernel refused, or has no landlock.
    """
    version = abi()
    if version == 0:
        raise OSError(errno.ENOSYS, "this kernel has no landlock")
    handled = Right((_HIGHEST_RIGHT.get(version, Right.IOCTL_DEV) << 1) - 1)
    ruleset = _create(version, handled)
    try:
        for path, rights in granted.items():
            _grant(ruleset, path, rights & handled)
        syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(version: int, handled: Right) -> int:
    attributes = struct.pack(
        "=QQQ",
        handled,
        _BIND_AND_CONNECT_TCP if version >= _ABI_WITH_NETWORK else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _ABI_WITH_SCOPES else 0,
    )
    # An older kernel takes the longer structure, as what it does not know in it is zero.
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall("landlock_create_ruleset", _CREATE_RULESET, buffer, len(attributes), 0)


def _grant(ruleset: int, path: Path, rights: Right) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, beneath), 12)
        syscall("landlock_add_rule", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)
