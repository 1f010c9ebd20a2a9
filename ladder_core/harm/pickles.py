"""The pickles inside an archive, read opcode by opcode and never executed.

A pickle is a program for a small stack machine; what it can do is decided by the globals it names.
TorchScript's own pickles name the archive's classes and a handful of functions that PyTorch's C++ reader
knows; anything else (``os.system``, ``builtins.eval``) is refused by name.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Collection

from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted

MAX_PICKLE_BYTES = 64 << 20
_MAX_OPCODES = 5_000_000

# The opcodes PyTorch's C++ reader knows (torch/csrc/jit/serialization/pickler.h). None looks a global up by a
# computed name, as STACK_GLOBAL does, or by a number, as EXT1 does.
_OPCODES = frozenset(
    [
        "PROTO",
        "MARK",
        "STOP",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINSTRING",
        "BINSTRING",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "LIST",
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "DICT",
        "BINGET",
        "LONG_BINGET",
        "BINPUT",
        "LONG_BINPUT",
        "BINPERSID",
        "GLOBAL",
        "REDUCE",
        "NEWOBJ",
        "BUILD",
        "POP",
        "POP_MARK",
        "DUP",
    ]
)
_STORAGES = frozenset(
    f"torch {name}Storage"
    for name in (
        [
            "Float",
            "Double",
            "Half",
            "BFloat16",
            "Long",
            "Int",
            "Short",
            "Char",
            "Byte",
            "Bool",
            "ComplexFloat",
            "ComplexDouble",
            "Untyped",
        ]
    )
)
TORCHSCRIPT_GLOBALS = _STORAGES | {
    "collections OrderedDict",
    "torch device",
    "torch._utils _rebuild_tensor_v2",
    "torch.jit._pickle build_boollist",
    "torch.jit._pickle build_complexlist",
    "torch.jit._pickle build_doublelist",
    "torch.jit._pickle build_intlist",
    "torch.jit._pickle build_tensor_from_id",
    "torch.jit._pickle build_tensorlist",
    "torch.jit._pickle restore_type_tag",
}
"""What TorchScript's pickles name besides the archive's own classes."""

TENSOR_GLOBALS = _STORAGES | {
    "collections OrderedDict",
    "torch device",
    "torch Size",
    "torch.serialization _get_layout",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
}
"""What ``torch.save`` names when it writes plain tensors."""

_CLASS = re.compile(r"(__torch__(?:\.\w+)*) (\w+)", re.ASCII)


def check_pickle(
    data: bytes, name: str, *, allowed: Collection[str], classes: Collection[str] = frozenset()
) -> None:
    """Check one pickle.

    Args:
        data: The pickle; what follows its end is part of it, for nothing may.
        name: The entry's name, for errors.
        allowed: Globals it may name, as ``module name``.
        classes: Qualified names of the archive's own classes, which it may name too.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the global or opcode and its position.
    """
    if len(data) > MAX_PICKLE_BYTES:
        MODEL.unsafe(f"the pickle {quoted(name)} holds {len(data)} bytes; {MAX_PICKLE_BYTES} are allowed")
    end = 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count > _MAX_OPCODES:
                MODEL.unsafe(f"the pickle {quoted(name)} has more than {_MAX_OPCODES} instructions")
            if opcode.name not in _OPCODES:
                MODEL.unsafe(f"the pickle {quoted(name)} uses {opcode.name} at byte {position}")
            if opcode.name == "GLOBAL":
                _check_global(str(argument), name, position or 0, allowed, classes)
            end = (position or 0) + 1
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError) as error:
        MODEL.unsafe(f"the pickle {quoted(name)} is damaged ({quoted(str(error))})")
    if end != len(data):
        MODEL.unsafe(f"the pickle {quoted(name)} has {len(data) - end} bytes after its end")


def _check_global(
    named: str, pickle: str, position: int, allowed: Collection[str], classes: Collection[str]
) -> None:
    if named in allowed:
        return
    match = _CLASS.fullmatch(named)
    if match and f"{match[1]}.{match[2]}" in classes:
        return
    shown_name = quoted(named.replace(" ", "."))
    MODEL.unsafe(
        f"the pickle {quoted(pickle)} names {shown_name} at byte {position}, which is neither a class of the "
        "archive nor written by PyTorch"
    )
