"""Programs that declare a method of an operator's name, and try to get the operator by it."""

from collections.abc import Callable
from pathlib import Path

from tests.hostile.base import Hostile, Wall, harmless, rewrite

_FIRST_LINE = "    fc = self.fc\n"
_OWNER = "__torch__.tests.hostile.base.Tiny"
_DECLARED = (
    f"  def resize_(self: {_OWNER}, n: List[int]) -> Tensor:\n    return torch.zeros(n)\n  def forward("
)


def _declares_it(*lines: str, arguments: str = "x: Tensor") -> Callable[[Path, Path], None]:
    """A module with a method ``resize_`` of its own, and a forward that tries to get the operator by it."""

    def make(path: Path, outside: Path) -> None:
        def edit(name: str, data: bytes) -> bytes:
            if not name.endswith("base.py"):
                return data
            source = data.decode().replace("  def forward(", _DECLARED).replace("x: Tensor)", f"{arguments})")
            text = "".join(f"    {line}\n" for line in lines)
            return source.replace(_FIRST_LINE, text + _FIRST_LINE).encode()

        rewrite(harmless(), path, edit)

    return make


RECEIVERS = {
    "module replaced by a tensor": Hostile(
        "calls an operator on what was a module that declares its name",
        _declares_it("self = x", "a = (self).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "module shadowed by an argument": Hostile(
        "calls an operator on a second argument of the module's name",
        _declares_it("a = (self).resize_([9])", arguments="x: Tensor, self: Tensor"),
        Wall.PARSE,
        "two arguments of the name 'self'",
    ),
    "module shadowed by a keyword": Hostile(
        "calls an operator on a keyword argument of the module's name",
        _declares_it("a = (self).resize_([9])", arguments="x: Tensor, *, self: Tensor"),
        Wall.PARSE,
        "two arguments of the name 'self'",
    ),
    "module in one branch": Hostile(
        "calls an operator on what is a module in one branch alone",
        _declares_it("if True:", "  a = self", "else:", "  a = x", "b = (a).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "module in a loop": Hostile(
        "calls an operator on what a loop replaces",
        _declares_it("a = self", "for a in [x]:", "  b = (a).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "module unpacked": Hostile(
        "calls an operator on one of two, the other of which is the module",
        _declares_it("a, b = x, self", "c = (a).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "module by name": Hostile(
        "calls an operator on what is said to be a tensor",
        _declares_it("a = unchecked_cast(Tensor, self)", "b = (a).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "module in a list": Hostile(
        "calls an operator on an item",
        _declares_it("a = [x]", "b = (a[0]).resize_([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
    "getattr of a tensor": Hostile(
        "looks the declared name up in a tensor",
        _declares_it("a = self", 'b = getattr(x, "resize_")', "c = b([9])"),
        Wall.PARSE,
        "aten::resize_",
    ),
}
