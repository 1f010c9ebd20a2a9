"""What the calls in an exported program mean, where TorchScript writes the same otherwise."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

NAMES = {
    "aten::_local_scalar_dense": "aten::item",
    "aten::sym_numel": "aten::numel",
    "aten::sym_size": "aten::size",
}
"""Operators that have another name in TorchScript, where they return plain numbers as they do here."""

ASSERTIONS = frozenset(
    {
        "aten::_assert_async",
        "aten::_assert_scalar",
        "aten::_assert_tensor_metadata",
        "aten::sym_constrain_range",
        "aten::sym_constrain_range_for_size",
    }
)
"""Operators that only repeat what was true of the images the user exported with."""

NUMBERS: dict[Callable[..., Any], str] = {
    operator.add: "aten::add",
    operator.and_: "aten::__and__",
    operator.eq: "aten::eq",
    operator.floordiv: "aten::floordiv",
    operator.ge: "aten::ge",
    operator.gt: "aten::gt",
    operator.le: "aten::le",
    operator.lt: "aten::lt",
    operator.mod: "aten::remainder",
    operator.mul: "aten::mul",
    operator.ne: "aten::ne",
    operator.neg: "aten::neg",
    operator.or_: "aten::__or__",
    operator.sub: "aten::sub",
    operator.truediv: "aten::div",
    builtins.max: "prim::max",
    builtins.min: "prim::min",
    math.ceil: "aten::ceil",
    math.floor: "aten::floor",
    torch.sym_float: "aten::Float",
    torch.sym_int: "aten::Int",
    torch.sym_max: "prim::max",
    torch.sym_min: "prim::min",
    torch.sym_not: "aten::__not__",
}
"""Python functions on sizes, by the operators that compute the same."""


def arguments_of(node: fx.Node, schema: torch._C.FunctionSchema) -> list[object]:
    """The arguments of a call in the schema's order, defaults included."""
    arguments: list[object] = []
    for position, argument in enumerate(schema.arguments):
        if position < len(node.args) and not argument.kwarg_only:
            arguments.append(node.args[position])
        else:
            arguments.append(node.kwargs.get(argument.name, argument.default_value))
    return arguments
