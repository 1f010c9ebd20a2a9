"""Tensors in TorchScript's pickles keep within their records: the pickle machine, run on what it would make.

PyTorch's C++ reader believes a storage's length and a tensor's offset, sizes and strides as the pickle states
them. A file that states too much reads the memory behind a record when it is used, and writes there when it
is trained. So each pickle is executed here with stand-ins for its objects: integers, strings and tuples are
what they are, storages know their length, and everything else is opaque. The machine is the C++ reader's,
not Python's: NEWOBJ takes its arguments off and leaves the class, and BUILD is REDUCE. Pickled weights of a
``.pt2`` are read by Python, which believes a storage's length likewise.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from ladder_core.errors import ModelError
from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted
from ladder_schema.errors import ErrorCode

_REBUILD = "torch._utils _rebuild_tensor_v2"
_ITEM_BYTES = {
    **dict.fromkeys(("Char", "Byte", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_KIND = re.compile(r"torch \w+Storage", re.ASCII)
_MAX_DIMENSIONS = 64
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1"})
_STRINGS = frozenset({"BINUNICODE", "SHORT_BINSTRING", "BINSTRING"})
_OPAQUE_VALUES = frozenset({"NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_LIST", "EMPTY_DICT"})
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_POPS = {"POP": 1, "APPEND": 1, "SETITEM": 2}


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    items: int


_OPAQUE, _MARK = object(), object()


def records_of(pickle: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes of the records beside a pickle, by key: ``data.pkl`` has its tensors in ``data/``.

    Args:
        pickle: The entry's name.
        sizes: Bytes of every entry of its archive, by name.
    """
    folder = pickle.removesuffix(".pkl") + "/"
    return {name.removeprefix(folder): size for name, size in sizes.items() if name.startswith(folder)}


def check_storages(data: bytes, name: str, records: Mapping[str, int], *, for_python: bool = False) -> None:
    """Check that every tensor of a pickle lies within its record.

    Args:
        data: The pickle, whose opcodes and globals were found harmless.
        name: The entry's name, for errors.
        records: Bytes of each record it may name, by the key it names it by.
        for_python: Whether ``torch.load`` is going to read it, and not the C++ reader.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the pickle and what in it reaches too far; ``MODEL_UNSUPPORTED``
            for an expanded tensor, whose items share memory: nothing can be written to it.
    """
    try:
        (_PythonMachine if for_python else _Machine)(name, records).run(data)
    except (IndexError, ValueError):
        MODEL.unsafe(f"the pickle {quoted(name)} is damaged: it takes what is not there")


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, name: str, records: Mapping[str, int]) -> None:
        self._name = name
        self._records = records
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._special: Mapping[str, Callable[[object], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_to_mark())),
            "LIST": lambda _: self._collect(),
            "DICT": lambda _: self._collect(),
            "APPENDS": lambda _: void(self._pop_to_mark()),
            "SETITEMS": lambda _: void(self._pop_to_mark()),
            "POP_MARK": lambda _: void(self._pop_to_mark()),
            "DUP": lambda _: self._stack.append(self._top()),
            "GLOBAL": lambda named: self._stack.append(_Global(str(named))),
            "BINPERSID": lambda _: self._stack.append(self._storage(*self._pop(1))),
            "REDUCE": lambda _: self._reduce(),
            "NEWOBJ": lambda _: void(self._pop(1)),
            "BUILD": lambda _: self._reduce(),
        }

    def run(self, data: bytes) -> None:
        """Execute it to its end."""
        for opcode, argument, _ in pickletools.genops(data):
            self._step(opcode.name, argument)

    def _step(self, opcode: str, argument: object) -> None:
        if opcode in _INTEGERS or opcode in _STRINGS:
            self._stack.append(argument)
        elif opcode in _OPAQUE_VALUES:
            self._stack.append(_OPAQUE)
        elif opcode in _TUPLES:
            self._stack.append(tuple(self._pop(_TUPLES[opcode])))
        elif opcode in _POPS:
            self._pop(_POPS[opcode])
        elif opcode in {"BINPUT", "LONG_BINPUT"}:
            self._memo[_integer(argument)] = self._top()
        elif opcode in {"BINGET", "LONG_BINGET"}:
            self._stack.append(self._remembered(_integer(argument)))
        elif opcode in self._special:
            self._special[opcode](argument)
        elif opcode not in {"PROTO", "STOP"}:
            self._refuse(f"uses {opcode}")

    def _pop(self, count: int) -> list[object]:
        if count > len(self._stack):
            raise IndexError
        taken = self._stack[len(self._stack) - count :]
        # The C++ reader keeps its marks elsewhere, and would take the item below.
        if _MARK in taken:
            self._refuse("takes a mark for a value")
        del self._stack[len(self._stack) - count :]
        return taken

    def _top(self) -> object:
        (value,) = self._pop(1)
        self._stack.append(value)
        return value

    def _pop_to_mark(self) -> list[object]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def _collect(self) -> None:
        self._pop_to_mark()
        self._stack.append(_OPAQUE)

    def _remembered(self, key: int) -> object:
        if key not in self._memo:
            raise IndexError
        return self._memo[key]

    def _storage(self, named: object) -> _Storage:
        match named:
            case ("storage", _Global(name=kind), str(key), str(), int(items)):
                pass
            case _:
                self._refuse("names a tensor's storage in a way that PyTorch does not write")
        item_bytes = _ITEM_BYTES.get(kind.removeprefix("torch ").removesuffix("Storage"))
        if item_bytes is None:
            self._refuse(f"has a storage of {quoted(kind)}, which is no kind of tensor")
        held = self._records.get(key)
        if items and held is None:
            self._refuse(f"names the record {quoted(key)}, which the archive does not hold")
        if not 0 <= items * item_bytes <= (held or 0):
            self._refuse(
                f"states {items} items of {item_bytes} bytes for the record {quoted(key)}, which holds "
                f"{held or 0} bytes"
            )
        return _Storage(items)

    def _reduce(self) -> None:
        function, arguments = self._pop(2)
        # The C++ reader calls functions by number, wherever it comes from; a storage's kind is a number, too.
        if not isinstance(function, _Global) or _KIND.fullmatch(function.name):
            self._refuse("calls something that it does not name")
        if function.name == _REBUILD:
            self._tensor(arguments)
        self._stack.append(_OPAQUE)

    def _tensor(self, arguments: object) -> None:
        match arguments:
            case (_Storage(items=items), int(offset), tuple(sizes), tuple(strides), *_):
                pass
            case _:
                self._refuse("makes a tensor in a way that PyTorch does not write")
        numbers = (offset, *sizes, *strides)
        if len(sizes) != len(strides) or len(sizes) > _MAX_DIMENSIONS or not all(map(_is_size, numbers)):
            self._refuse("makes a tensor of an impossible shape")
        extent = zip(map(_integer, sizes), map(_integer, strides), strict=True)
        last = offset + sum((size - 1) * stride for size, stride in extent)
        if 0 not in sizes and last >= items:
            self._refuse(f"makes a tensor that reaches item {last} of a storage of {items}")
        if any(size > 1 and stride == 0 for size, stride in zip(sizes, strides, strict=True)):
            raise ModelError(
                ErrorCode.MODEL_UNSUPPORTED,
                f"the model holds an expanded tensor of shape {sizes}, whose items share memory: replace it "
                "by its clone() before saving",
            )

    def _refuse(self, what: str) -> NoReturn:
        MODEL.unsafe(f"the pickle {quoted(self._name)} {what}")


class _PythonMachine(_Machine):
    """The same as ``torch.load`` runs it, where BUILD sets the state of an object and leaves it."""

    def __init__(self, name: str, records: Mapping[str, int]) -> None:
        super().__init__(name, records)
        self._special = {
            **self._special,
            "NEWOBJ": lambda _: self._refuse("makes an object of a class (NEWOBJ)"),
            "BUILD": lambda _: void(self._pop(1)),
        }


def void(_: object) -> None:
    """Forget a result."""


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError  # noqa: TRY004 - the pickle's fault, told by whoever reads it
    return value


def _is_size(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 63
