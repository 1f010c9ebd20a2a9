"""The expressions and types of a TorchScript program; `torchscript_code` states the rules."""

from __future__ import annotations

import ast
import re
from typing import NoReturn

from ladder_core.errors import ModelError
from ladder_core.harm.allowed import is_allowed
from ladder_core.harm.definitions import Definitions, dotted_name, forbidden_tensor_methods
from ladder_core.harm.limits import MODEL
from ladder_core.harm.receivers import Receivers
from ladder_core.text import quoted
from ladder_schema.errors import ErrorCode

_NUMBERS = frozenset({"inf", "nan", "infj", "nanj"})
_SPECIAL_FORMS = frozenset(
    {"annotate", "unchecked_cast", "uninitialized", "isinstance", "getattr", "hasattr"}
)
_FUNCTIONS = frozenset(
    {"int", "float", "bool", "str", "complex", "range", "print", "len", "min", "max", "list"}
)
_RESERVED = (
    _NUMBERS
    | _SPECIAL_FORMS
    | {"torch", "ops", "CONSTANTS", "__torch__", "fork", "awaitable", "rpc_async", "rpc_sync", "rpc_remote"}
)
_TYPES = frozenset(
    [
        "Tensor",
        "int",
        "float",
        "bool",
        "str",
        "complex",
        "number",
        "NoneType",
        "None",
        "Any",
        "Device",
        "Layout",
        "Dtype",
        "MemoryFormat",
        "List",
        "Dict",
        "Tuple",
        "Optional",
        "Union",
        "Final",
    ]
)
_GENERICS = frozenset({"List", "Dict", "Tuple", "Optional", "Union", "Final"})
_CONSTANT = re.compile(r"CONSTANTS\.c[0-9]{1,9}")
# Submodules may have any name: torchvision's RegNet calls them block1-0.
_MEMBER = re.compile(r"[^\x00-\x1f\x7f-\U0010ffff\"'\\]{1,200}")
_BUILT_IN_MEMBERS = frozenset({"tolist", "__init__", "__new__", "forward"})


class Scope:
    """What one function may say.

    Args:
        file: Its file, for errors.
        definitions: What the archive defines.
        bound: Its arguments and local names.
        receivers: Its expressions whose class is known.
    """

    def __init__(
        self, file: str, definitions: Definitions, bound: frozenset[str], receivers: Receivers
    ) -> None:
        self._file = file
        self._definitions = definitions
        self._bound = bound
        self._receivers = receivers

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        """Refuse the program for a node.

        Raises:
            ModelError: ``MODEL_UNSAFE``, always.
        """
        line = getattr(node, "lineno", "?")
        where = f"{quoted(self._file)}, line {line}"
        MODEL.unsafe(f"{where}: the program holds {what}, which no classifier needs")

    def check_binding(self, node: ast.AST, name: str) -> None:
        """Check that a name being defined takes nothing from the language."""
        if name in _RESERVED:
            self.refuse(node, f"a definition of the name {name}")

    def check_attribute(self, node: ast.AST, name: str, receiver: ast.expr) -> None:
        """Check the name of an attribute or method where it is used."""
        if name in forbidden_tensor_methods() and not self._receivers.declares(receiver, name):
            self.refuse(
                node,
                f"the name {name}, an operator (aten::{name}) that is not on the list (if it is a layer or "
                "buffer of yours, rename it)",
            )
        self.check_declaration(node, name)

    def check_declaration(self, node: ast.AST, name: str) -> None:
        """Check the name of an attribute or method where a class declares it."""
        if not _MEMBER.fullmatch(name):
            self.refuse(node, f"the attribute {quoted(name)}")
        is_special = name.startswith("__") and name.endswith("__")
        if name not in self._definitions.members and name not in _BUILT_IN_MEMBERS:
            self.refuse(node, f"the name {quoted(name)}, which no class of the archive declares")
        if is_special and name in ("__setstate__", "__getstate__"):
            self.refuse(node, f"the method {name}")

    def quoted(self, node: ast.Constant) -> str:
        """Return the name of an attribute that is written as a string.

        Python and TorchScript might read escapes differently, and names need none.
        """
        name = str(node.value)
        if (node.end_col_offset or 0) - node.col_offset != len(name) + len("''"):
            self.refuse(node, "a name that is spelt with escapes")
        return name

    def target(self, node: ast.expr) -> None:
        """Check the left side of an assignment."""
        match node:
            case ast.Name(id=name):
                self.check_binding(node, name)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                for item in items:
                    self.target(item)
            case ast.Attribute(value=value, attr=name):
                self.check_attribute(node, name, value)
                self.expression(value)
            case ast.Subscript(value=value, slice=index):
                self.expression(value)
                self.expression(index)
            case _:
                self.refuse(node, f"an assignment to a {type(node).__name__}")

    def expression(self, node: ast.expr) -> None:
        """Check an expression and all it is made of."""
        match node:
            case ast.Constant():
                self._constant(node)
            case ast.Name(id=name):
                if name not in self._bound and name not in _NUMBERS:
                    self.refuse(node, f"the name {quoted(name)} as a value")
            case ast.Attribute():
                self._attribute(node)
            case ast.Call():
                self._call(node)
            case _:
                for part in self._parts(node):
                    self.expression(part)

    def literal(self, node: ast.expr) -> None:
        """Check a value that PyTorch computes while it loads the file: it may call nothing."""
        match node:
            case ast.Constant():
                self._constant(node)
            case ast.Name(id=name) if name in _NUMBERS:
                pass
            case ast.UnaryOp() | ast.List() | ast.Tuple() | ast.Dict():
                for part in self._parts(node):
                    self.literal(part)
            case ast.Attribute() if _CONSTANT.fullmatch(dotted_name(node) or ""):
                pass
            case ast.Call(func=ast.Name(id="annotate"), args=[kind, value], keywords=[]):
                self.type(kind)
                self.literal(value)
            case ast.Call(func=func, args=[ast.Constant(value=str())], keywords=[]) if (
                dotted_name(func) == "torch.device"
            ):
                pass
            case _:
                self.refuse(node, "a default or constant that is computed while the file is loaded")

    def type(self, node: ast.expr) -> None:
        """Check a type."""
        match node:
            case ast.Name(id=name) if name in _TYPES:
                pass
            case ast.Constant(value=None):
                pass
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=items)) if name in _GENERICS:
                for item in items:
                    self.type(item)
            case ast.Subscript(value=ast.Name(id=name), slice=item) if name in _GENERICS:
                self.type(item)
            case ast.Attribute():
                self._qualified(node, dotted_name(node) or "")
            case _:
                self.refuse(node, f"the type {quoted(ast.unparse(node))}")

    def _parts(self, node: ast.expr) -> list[ast.expr]:
        """What an expression is made of that has no meaning beyond its parts."""
        parts: list[ast.expr | None]
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                parts = [operand]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = [*items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                parts = [*keys, *values]
            case ast.Subscript(value=value, slice=index):
                parts = [value, index]
            case ast.Slice(lower=lower, upper=upper, step=step):
                parts = [lower, upper, step]
            case _:
                self.refuse(node, f"an expression of kind {type(node).__name__}")
        return [part for part in parts if part is not None]

    def _constant(self, node: ast.Constant) -> None:
        if not isinstance(node.value, str | bool | int | float | complex | None):
            self.refuse(node, f"a constant of kind {type(node.value).__name__}")

    def _attribute(self, node: ast.Attribute) -> None:
        """An attribute that is read, not called."""
        dotted = dotted_name(node)
        root = dotted.partition(".")[0] if dotted else ""
        if dotted is not None and root not in self._bound:
            if _CONSTANT.fullmatch(dotted):
                return
            if root == "__torch__":
                owner = dotted.rpartition(".")[0]
                # A member of an Enum, or the class or function itself.
                self._qualified(node, owner if owner in self._definitions.qualified else dotted)
                return
            self.refuse(node, f"{quoted(dotted)} as a value")
        self.check_attribute(node, node.attr, node.value)
        self.expression(node.value)

    def _call(self, node: ast.Call) -> None:
        dotted = dotted_name(node.func)
        root = dotted.partition(".")[0] if dotted else ""
        if isinstance(node.func, ast.Name) and root in _SPECIAL_FORMS:
            self._special_form(node, root)
            return
        if dotted is None or "." in dotted:
            self._callee(node.func, dotted, root)
        elif dotted not in self._bound and dotted not in _FUNCTIONS:
            self.refuse(node, f"a call of {quoted(dotted)}")
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.expression(argument)
        if any(keyword.arg is None for keyword in node.keywords):
            self.refuse(node, "starred arguments")

    def _callee(self, func: ast.expr, dotted: str | None, root: str) -> None:
        """What is called, where it is more than a name."""
        if dotted is not None and root not in self._bound:
            parts = dotted.split(".")
            if root == "torch":
                self._operator(func, dotted, f"aten::{parts[1]}" if len(parts) == 2 else "")
            elif root == "ops":
                self._operator(func, dotted, f"{parts[1]}::{parts[2]}" if len(parts) == 3 else "")
            elif root == "__torch__":
                self._qualified(func, dotted.removesuffix(".__new__"))
            else:
                self.refuse(func, f"a call of {quoted(dotted)}")
        elif isinstance(func, ast.Attribute):
            self.check_attribute(func, func.attr, func.value)
            self.expression(func.value)
        else:
            self.refuse(func, f"a call of a {type(func).__name__}")

    def _operator(self, node: ast.AST, written: str, operator: str) -> None:
        if "mkldnn" in operator:
            # An honest mistake, and PyTorch could not load the file either.
            raise ModelError(
                ErrorCode.MODEL_UNSUPPORTED,
                "the model file comes from torch.jit.optimize_for_inference, which PyTorch saves but cannot "
                "read again; save the module before that call",
            )
        if not is_allowed(operator):
            self.refuse(node, f"a call of {quoted(written)}, an operator that is not on the list")

    def _qualified(self, node: ast.AST, dotted: str) -> None:
        if dotted not in self._definitions.qualified:
            self.refuse(node, f"{quoted(dotted)}, which the archive does not define")

    def _special_form(self, node: ast.Call, name: str) -> None:
        """Forms of the language whose arguments are types or names."""
        match (name, node.args, node.keywords):
            case ("annotate" | "unchecked_cast", [kind, value], []):
                self.type(kind)
                self.expression(value)
            case ("uninitialized", [kind], []):
                self.type(kind)
            case ("isinstance", [value, ast.List(elts=kinds) | ast.Tuple(elts=kinds)], []):
                self.expression(value)
                for kind in kinds:
                    self.type(kind)
            case ("isinstance", [value, kind], []):
                self.expression(value)
                self.type(kind)
            case ("getattr" | "hasattr", [value, ast.Constant(value=str()) as attribute], []):
                self.expression(value)
                self.check_attribute(attribute, self.quoted(attribute), value)
            case _:
                self.refuse(node, f"a call of {name} in a form that PyTorch does not write")
