"""Expressions of sizes in an exported program: what ``sympify`` and ``exec`` are given must be arithmetic."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

_MAX_LENGTH = 2_000
_MAX_NUMBER = 1 << 64
_CHARACTERS = re.compile(r"[A-Za-z0-9_\[\]'(). ,<>=!+\-*/%]*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}|-?[0-9.]{1,60}(e-?[0-9]{1,3})?")
_SYMPY = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Mod",
        "Max",
        "Min",
        "Abs",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "LessThan",
        "StrictLessThan",
        "GreaterThan",
        "StrictGreaterThan",
        "And",
        "Or",
        "Not",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "CeilDiv",
        "IntTrueDiv",
        "FloatTrueDiv",
        "ToFloat",
        "TruncToInt",
        "TruncToFloat",
        "RoundToInt",
        "floor",
        "ceiling",
        "Identity",
    ]
)
_ASSUMPTIONS = frozenset({"positive", "integer", "nonnegative", "real", "precision"})
_METHODS = frozenset({"size", "stride", "storage_offset", "numel", "dim"})
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)


def check_symbolic(text: str) -> bool:
    """Whether a symbolic size, as ``sympy.srepr`` writes it, is made of arithmetic alone.

    Powers are not, whose value can outgrow any memory.
    """
    tree = _parse(text)
    return tree is not None and _is_arithmetic(tree)


def check_guard(text: str) -> bool:
    """Whether a guard compares sizes of the arguments (``L['x'].size()[0] <= 64``), and does nothing else."""
    tree = _parse(text)
    return tree is not None and _is_guard(tree)


def _parse(text: str) -> ast.expr | None:
    if len(text) > _MAX_LENGTH or not _CHARACTERS.fullmatch(text):
        return None
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_arithmetic(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords) if name in _SYMPY:
            named = all(
                keyword.arg in _ASSUMPTIONS and isinstance(keyword.value, ast.Constant)
                for keyword in keywords
            )
            return named and all(_is_arithmetic(argument) for argument in arguments)
        case ast.Name(id=name):
            return name in ("true", "false") or re.fullmatch(r"[a-z]{1,8}[0-9]{1,9}", name) is not None
        case _:
            return _is_plain(node, _is_arithmetic)


def _is_guard(node: ast.expr) -> bool:
    match node:
        case ast.Compare(left=left, comparators=others):
            return all(_is_guard(part) for part in (left, *others))
        case ast.BoolOp(values=values):
            return all(_is_guard(part) for part in values)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _SYMPY:
            return all(_is_guard(argument) for argument in arguments)
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=[], keywords=[]) if name in _METHODS:
            return _is_argument(value)
        case ast.Subscript(value=ast.Call() as call, slice=ast.Constant(value=int())):
            return _is_guard(call)
        case _:
            return _is_plain(node, _is_guard)


def _is_argument(node: ast.expr) -> bool:
    """``L['x']['y'][0]``."""
    while isinstance(node, ast.Subscript):
        if not isinstance(node.slice, ast.Constant) or not _is_constant(node.slice.value):
            return False
        node = node.value
    return isinstance(node, ast.Name) and node.id == "L"


def _is_plain(node: ast.expr, recurse: Callable[[ast.expr], bool]) -> bool:
    match node:
        case ast.Constant(value=value):
            return _is_constant(value)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            return recurse(operand)
        case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _ARITHMETIC):
            return recurse(left) and recurse(right)
    return False


def _is_constant(value: object) -> bool:
    if isinstance(value, str):
        return _NAME.fullmatch(value) is not None
    return isinstance(value, bool | int | float) and abs(value) <= _MAX_NUMBER
