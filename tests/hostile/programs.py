"""Attacks in the text of a TorchScript program."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tests.hostile.base import Hostile, Tiny, Wall, harmless, rewrite
from tests.hostile.receivers import RECEIVERS

_FIRST_LINE = "    fc = self.fc\n"
_DECLARES_RESIZE = "class Other(Module):\n  __parameters__ = []\n  __buffers__ = []\n  resize_ : Tensor\n"


def says(*lines: str, before: str = "") -> Callable[[Path, Path], None]:
    """A program whose forward begins with these lines; ``{outside}`` is the directory under attack."""

    def make(path: Path, outside: Path) -> None:
        def edit(name: str, data: bytes) -> bytes:
            if not name.endswith("base.py"):
                return data
            text = "".join(f"    {line}\n" for line in lines).replace("{outside}", str(outside))
            source = data.decode()
            assert _FIRST_LINE in source
            return (before + source.replace(_FIRST_LINE, text + _FIRST_LINE)).encode()

        rewrite(harmless(), path, edit)

    return make


_OF_CPP = (
    b"class LinearPackedParamsBase(Module):\n  __parameters__ = []\n  __buffers__ = []\n  unpack : Tensor\n"
)


def _redefines_a_class(path: Path, outside: Path) -> None:
    rewrite(harmless(), path, extra={"{root}/code/__torch__/torch/classes/quantized.py": _OF_CPP})


def _swaps_an_object(path: Path, outside: Path) -> None:
    """The program reads the layer's weight at its place; the pickle holds an object with one place."""
    small = b"class Small(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n"

    def edit(name: str, data: bytes) -> bytes:
        if name.endswith("base.py"):
            return small + data
        if not name.endswith("data.pkl"):
            return data
        # The class has a number in its name if another Linear was scripted before.
        linear = rb"c__torch__\.torch\.nn\.modules\.linear[.\w]*\nLinear\n"
        data, count = re.subn(linear, b"c__torch__.tests.hostile.base\nSmall\n", data)
        assert count == 1
        return data

    rewrite(harmless(), path, edit)


def _scripted(module: Callable[[str], torch.nn.Module]) -> Callable[[Path, Path], None]:
    """A module as its author scripted and saved it, nothing forged."""
    return lambda path, outside: torch.jit.script(module(str(outside)).eval()).save(str(path))


class Reads(Tiny):
    def __init__(self, outside: str):
        super().__init__()
        self.path = f"{outside}/secret"

    def forward(self, x: Tensor) -> Tensor:
        stolen = torch.from_file(self.path, False, 8, dtype=torch.uint8)
        return self.fc(x.flatten(1)) + stolen.sum()


class Writes(Tiny):
    def __init__(self, outside: str):
        super().__init__()
        self.path = f"{outside}/owned"

    def forward(self, x: Tensor) -> Tensor:
        written = torch.from_file(self.path, True, 8, dtype=torch.uint8).fill_(65)
        return self.fc(x.flatten(1)) + written.sum()


class Saves(Tiny):
    def __init__(self, outside: str):
        super().__init__()
        self.path = f"{outside}/owned"

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return self.fc(x.flatten(1))


class WritesWhileLoading(Tiny):
    def __init__(self, outside: str):
        super().__init__()
        self.path = f"{outside}/owned"

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.from_file(self.path, True, 8, dtype=torch.uint8).fill_(65)


class Forks(Tiny):
    def __init__(self, outside: str):
        super().__init__()

    def again(self, x: Tensor) -> Tensor:
        return x + 1

    def forward(self, x: Tensor) -> Tensor:
        while bool(x.sum() > 0):
            x = torch.jit.wait(torch.jit.fork(self.again, x))
        return self.fc(x.flatten(1))


class HidesInMethod(Tiny):
    """The attack is not in forward; a submodule's other method holds it, in a branch in a loop."""

    def __init__(self, outside: str):
        super().__init__()
        self.inner = _Inner(f"{outside}/owned")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class _Inner(torch.nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def later(self, x: Tensor) -> Tensor:
        for _ in range(3):
            if bool(x.sum() > 0):
                torch.save(x, self.path)
        return x


_SAVE = "which the archive does not define"

PROGRAMS = {
    **RECEIVERS,
    "file read": Hostile("reads a file in forward", _scripted(Reads), Wall.PARSE, "'torch.from_file'"),
    "file write": Hostile("maps a file to write", _scripted(Writes), Wall.PARSE, "'torch.from_file'"),
    "file saved": Hostile("saves a tensor to a path", _scripted(Saves), Wall.PARSE, "'torch.save'"),
    "write during load": Hostile(
        "writes from __setstate__", _scripted(WritesWhileLoading), Wall.PARSE, "__getstate__"
    ),
    "fork bomb": Hostile("starts threads without end", _scripted(Forks), Wall.PARSE, "(fork)"),
    "hidden method": Hostile("saves in another method", _scripted(HidesInMethod), Wall.PARSE, "'torch.save'"),
    "alias of an operator": Hostile(
        "names torch.save otherwise",
        says("a = torch.save", 'b = a(x, "{outside}/owned")'),
        Wall.PARSE,
        "'torch.save' as a value",
    ),
    "alias of the module": Hostile(
        "names torch otherwise",
        says("a = torch", 'b = a.save(x, "{outside}/owned")'),
        Wall.PARSE,
        "'torch' as a value",
    ),
    "getattr by string": Hostile(
        "looks the operator up by name",
        says('a = getattr(torch, "save")', 'b = a(x, "{outside}/owned")'),
        Wall.PARSE,
        "'torch' as a value",
    ),
    "escaped string": Hostile(
        "spells the name in escapes",
        says('a = getattr(x, "resi\\x7ae_")', "b = a([9])"),
        Wall.PARSE,
        "spelt with escapes",
    ),
    "method by string": Hostile(
        "looks a tensor's method up by name",
        says('a = getattr(x, "resize_")', "b = a([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "operator by namespace": Hostile(
        "calls ops.aten", says('a = ops.aten.save(x, "{outside}/owned")'), Wall.PARSE, "'ops.aten.save'"
    ),
    "chain of attributes": Hostile(
        "goes through torch.ops",
        says('a = torch.ops.aten.save(x, "{outside}/owned")'),
        Wall.PARSE,
        "'torch.ops.aten.save'",
    ),
    "method of a tensor": Hostile(
        "calls an operator as a method", says("a = (x).resize_([9])"), Wall.PARSE, "aten::resize_"
    ),
    "method declared elsewhere": Hostile(
        "calls an operator by a name that another class declares",
        says("a = (x).resize_([9])", before=_DECLARES_RESIZE),
        Wall.PARSE,
        "aten::resize_",
    ),
    "unknown namespace": Hostile(
        "calls another library",
        says('a = ops.symm_mem.one_shot_all_reduce(x, "sum", "g")'),
        Wall.PARSE,
        "symm_mem",
    ),
    "class of PyTorch": Hostile(
        "makes an object of C++",
        says("a = __torch__.torch.classes.quantized.LinearPackedParamsBase.__new__(x)"),
        Wall.PARSE,
        _SAVE,
    ),
    "class of PyTorch redefined": Hostile(
        "makes an object of C++, as if it were the archive's own",
        _redefines_a_class,
        Wall.PARSE,
        "classes of its own",
    ),
    "type of PyTorch": Hostile(
        "names a class of C++",
        says("a = uninitialized(__torch__.torch.classes.quantized.LinearPackedParamsBase)"),
        Wall.PARSE,
        _SAVE,
    ),
    "default value": Hostile(
        "runs while it is compiled",
        says(before='def f(x: Tensor=torch.from_file("/etc/passwd")) -> Tensor:\n  return x\n'),
        Wall.PARSE,
        "while the file is loaded",
    ),
    "comment": Hostile("text only PyTorch reads", says("a = 1 # type: int"), Wall.PARSE, "'#'"),
    "joined lines": Hostile(
        "a name over two lines", says("a = torch.sa\\", "ve"), Wall.PARSE, "which PyTorch does not"
    ),
    "look-alike letters": Hostile(
        "a name Python normalises", says("a = torch.ﬂatten(x, 1)"), Wall.PARSE, "beyond ASCII"
    ),
    "taken name": Hostile("redefines torch", says("torch = x"), Wall.PARSE, "definition of the name torch"),
    "class in a method": Hostile(
        "statements no classifier has", says("raise x"), Wall.PARSE, "statement of kind Raise"
    ),
    "deep nesting": Hostile(
        "overflows the parser", says("a = " + "-" * 50_000 + "1"), Wall.PARSE, "program text"
    ),
    "long chain": Hostile("overflows the checker", says("a = x" + ".y" * 50_000), Wall.PARSE, "program text"),
}


def _doubling(path: Path, outside: Path) -> None:
    """Forty methods, each of which calls the one before it twice."""
    module = torch.jit.script(Tiny().eval())
    module.define("def m0(self, x: Tensor) -> Tensor:\n    return torch.neg(x)\n")
    for level in range(1, 41):
        twice = f"self.m{level - 1}(self.m{level - 1}(x))"
        module.define(f"def m{level}(self, x: Tensor) -> Tensor:\n    return {twice}\n")
    module.save(str(path))


COMPILED = {
    "object of another class": Hostile(
        "reads memory behind an object",
        _swaps_an_object,
        Wall.IR,
        "declared as '__torch__.torch.nn.modules.linear",
    ),
    "inlining without end": Hostile("2^40 operators inlined", _doubling, Wall.IR, "takes more than"),
    "operator past the parser": Hostile("saves in forward", _scripted(Saves), Wall.IR, "aten::save"),
    "method past the parser": Hostile(
        "saves in another method", _scripted(HidesInMethod), Wall.IR, "inner.later"
    ),
    "threads past the parser": Hostile("starts threads", _scripted(Forks), Wall.IR, "prim::fork"),
}
"""Files given to the wall after loading as if the text had told nothing; loading them runs nothing."""
