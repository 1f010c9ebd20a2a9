"""What each TorchScript operator means in Python.

Operators on tensors are run by PyTorch's dispatcher (``torch.ops.aten``), exactly as eager code runs them.
Operators on numbers, lists, strings and dictionaries are run here: the dispatcher would copy containers,
and so lose every ``append``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention

from ladder_core.classifier import scalars
from ladder_core.classifier.attention import native_multi_head_attention, transformer_encoder_layer

# The numbers TorchScript uses for dtypes (c10/core/ScalarType.h) and layouts (c10/core/Layout.h).
DTYPE_CODES = {
    torch.uint8: 0,
    torch.int8: 1,
    torch.int16: 2,
    torch.int32: 3,
    torch.int64: 4,
    torch.float16: 5,
    torch.float32: 6,
    torch.float64: 7,
    torch.complex32: 8,
    torch.complex64: 9,
    torch.complex128: 10,
    torch.bool: 11,
    torch.bfloat16: 15,
}
_LAYOUT_CODES = {torch.strided: 0, torch.sparse_coo: 1}


def _format(template: str, *values: object) -> str:
    # Not str.format: an uploaded template may name attributes ("{0.__class__}").
    pieces = template.split("{}")
    scalars.check_items(len(template) + sum(len(value) for value in values if isinstance(value, (str, list))))
    filled = [piece + str(value) for piece, value in zip(pieces, values, strict=False)]
    return "".join([*filled, *pieces[len(filled) :]])


def _raise(message: object, *_: object) -> NoReturn:
    raise RuntimeError(f"the uploaded model raised: {message}")


def _tensor_from_number(number: float | bool) -> torch.Tensor:
    # As c10::scalar_to_tensor: Python numbers are int64 and float64, of zero dimensions.
    return torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else None)


def _size(tensor: torch.Tensor, dim: int | None = None) -> int | list[int]:
    return list(tensor.shape) if dim is None else tensor.shape[dim]


def _slice(
    items: Sequence[Any], start: int | None = None, stop: int | None = None, step: int = 1
) -> Sequence[Any]:
    return items[start:stop:step]


def _range_length(start: int, stop: int, step: int) -> int:
    return len(range(start, stop, step))


def _derive_index(index: int, start: int, step: int) -> int:
    return start + index * step


def _set_item(items: dict[object, object], key: object, item: object) -> None:
    items[key] = item


_NUMBERS: dict[str, Callable[..., Any]] = {
    "aten::__not__": operator.not_,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::__xor__": operator.xor,
    "aten::__derive_index": scalars.wrapped(_derive_index),
    "aten::__range_length": _range_length,
    "aten::Bool": bool,
    "aten::Float": float,
    "aten::Int": scalars.truncated,
    "aten::abs": scalars.wrapped(abs),
    "aten::add": scalars.joined(scalars.wrapped(operator.add)),
    "aten::ceil": math.ceil,
    "aten::div": operator.truediv,
    "aten::eq": operator.eq,
    "aten::exp": math.exp,
    "aten::floor": math.floor,
    "aten::floordiv": scalars.wrapped(operator.floordiv),
    "aten::format": _format,
    "aten::ge": operator.ge,
    "aten::gt": operator.gt,
    "aten::le": operator.le,
    "aten::log": math.log,
    "aten::lt": operator.lt,
    "aten::mul": scalars.repeated(scalars.wrapped(operator.mul)),
    "aten::ne": operator.ne,
    "aten::neg": scalars.wrapped(operator.neg),
    "aten::remainder": operator.mod,
    "aten::round": round,
    "aten::sqrt": math.sqrt,
    "aten::str": str,
    "aten::sub": scalars.wrapped(operator.sub),
}
"""Pure functions of numbers, booleans, strings and None: safe to evaluate at compile time."""

_OVERLOADED_NUMBERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("aten::pow", "int"): scalars.power,
    ("aten::pow", "float"): scalars.power,
    ("aten::pow", "int_float"): scalars.power,
    ("aten::pow", "float_int"): scalars.power,
    ("aten::pow", "int_to_int"): scalars.integer_power,
    ("aten::pow", "Scalar_Scalar"): scalars.power,
}

_CONTAINERS: dict[str, Callable[..., Any]] = {
    "aten::__contains__": operator.contains,
    "aten::__getitem__": operator.getitem,
    "aten::_set_item": _set_item,
    "aten::add_": scalars.extend,
    "aten::all": all,
    "aten::any": any,
    "aten::append": list.append,
    "aten::clear": lambda items: items.clear(),
    "aten::copy": lambda items: items.copy(),
    "aten::extend": scalars.extend,
    "aten::index": list.index,
    "aten::insert": list.insert,
    "aten::items": lambda mapping: list(mapping.items()),
    "aten::keys": list,
    "aten::len": len,
    "aten::list": list,
    "aten::max": max,
    "aten::min": min,
    "aten::pop": lambda items, *index: items.pop(*index),
    "aten::reverse": list.reverse,
    "aten::slice": _slice,
    "aten::sum": scalars.wrapped(sum),
    "aten::values": lambda mapping: list(mapping.values()),
    "prim::max": max,
    "prim::min": min,
    "prim::TupleIndex": operator.getitem,
    "prim::TupleSlice": _slice,
}

_TENSOR_QUERIES: dict[str, Callable[..., Any]] = {
    "aten::Bool": bool,
    "aten::Float": float,
    "aten::FloatImplicit": float,
    "aten::Int": int,
    "aten::IntImplicit": int,
    "aten::ScalarImplicit": torch.Tensor.item,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::dim": torch.Tensor.dim,
    "aten::is_floating_point": torch.Tensor.is_floating_point,
    "aten::item": torch.Tensor.item,
    "aten::len": len,
    "aten::numel": torch.Tensor.numel,
    "aten::size": _size,
    "prim::NumToTensor": _tensor_from_number,
    "prim::data": lambda tensor: tensor.data,
    "prim::device": lambda tensor: tensor.device,
    "prim::dtype": lambda tensor: DTYPE_CODES[tensor.dtype],
    "prim::is_cuda": lambda tensor: tensor.is_cuda,
    "prim::is_nested": lambda tensor: tensor.is_nested,
    "prim::layout": lambda tensor: _LAYOUT_CODES[tensor.layout],
    "prim::requires_grad": lambda tensor: tensor.requires_grad,
    "prim::shape": _size,
    "prim::type": lambda device: device.type,
}

_DIFFERENTIABLE: dict[str, Callable[..., Any]] = {
    "aten::_native_multi_head_attention": native_multi_head_attention,
    "aten::_transformer_encoder_layer_fwd": transformer_encoder_layer,
}

_BINDINGS: dict[tuple[str, str], Callable[..., Any]] = {
    ("aten::_convolution", ""): torch._convolution,  # noqa: SLF001 - what tracing writes for every convolution
    ("aten::add", "Tensor"): torch.add,
    ("aten::add_", "Tensor"): torch.Tensor.add_,
    ("aten::batch_norm", ""): torch.batch_norm,
    ("aten::cat", ""): torch.cat,
    ("aten::conv2d", ""): torch.conv2d,
    ("aten::dropout", ""): torch.dropout,
    ("aten::dropout_", ""): torch.dropout_,
    ("aten::flatten", "using_ints"): torch.flatten,
    ("aten::layer_norm", ""): torch.layer_norm,
    ("aten::linear", ""): F.linear,
    ("aten::matmul", ""): torch.matmul,
    ("aten::max_pool2d", ""): torch.max_pool2d,
    ("aten::mean", "dim"): torch.mean,
    ("aten::mul", "Tensor"): torch.mul,
    ("aten::permute", ""): torch.permute,
    ("aten::relu", ""): torch.relu,
    ("aten::relu_", ""): torch.relu_,
    ("aten::reshape", ""): torch.reshape,
    ("aten::scaled_dot_product_attention", ""): F.scaled_dot_product_attention,
    ("aten::select", "int"): torch.select,
    ("aten::sigmoid", ""): torch.sigmoid,
    ("aten::tanh", ""): torch.tanh,
    ("aten::transpose", "int"): torch.transpose,
    ("aten::view", ""): torch.Tensor.view,
}
"""The commonest operators by their Python bindings: the same operators, at half the cost of a call."""

_STATE: dict[str, Callable[..., Any]] = {
    "aten::is_autocast_enabled": torch.is_autocast_enabled,
    "aten::is_grad_enabled": torch.is_grad_enabled,
    "aten::is_scripting": lambda: True,
    "prim::RaiseException": _raise,
    "prim::Uninitialized": lambda: None,
    "prim::rangelist": scalars.numbers_below,
}

IGNORED = frozenset({"aten::warn", "prim::Print", "prim::RecordFunction", "aten::manual_seed"})
"""Operators without a result that would only write to the console or move the global seed."""

ALIASES = frozenset({"prim::unchecked_cast", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional"})
"""Operators that return their input: they only change its static type."""

MODE_ARGUMENTS = {
    "aten::alpha_dropout": 2,
    "aten::alpha_dropout_": 2,
    "aten::batch_norm": 5,
    "aten::dropout": 2,
    "aten::dropout_": 2,
    "aten::feature_alpha_dropout": 2,
    "aten::feature_alpha_dropout_": 2,
    "aten::feature_dropout": 2,
    "aten::feature_dropout_": 2,
    "aten::gru": 6,
    "aten::instance_norm": 5,
    "aten::lstm": 6,
    "aten::native_dropout": 2,
    "aten::rnn_relu": 6,
    "aten::rnn_tanh": 6,
    "aten::rrelu": 3,
    "aten::rrelu_": 3,
}
"""Operators that behave differently in training, and the argument that says so."""

RECURRENT = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})
"""Layers that take their weights in a list, and drop out between layers in training."""


def scalar_function(name: str, overload: str) -> Callable[..., Any] | None:
    """The pure Python function of an operator on numbers and strings, or None if it is no such operator."""
    return _OVERLOADED_NUMBERS.get((name, overload)) or _NUMBERS.get(name)


def python_function(name: str, overload: str, *, takes_tensors: bool) -> Callable[..., Any] | None:
    """The Python function that runs an operator, or None where the dispatcher must run it."""
    if takes_tensors:
        return _TENSOR_QUERIES.get(name) or _DIFFERENTIABLE.get(name)
    return (
        scalar_function(name, overload)
        or _CONTAINERS.get(name)
        or _STATE.get(name)
        or (_TENSOR_QUERIES.get(name) if name.startswith("prim::") else None)
    )


def dispatcher_function(name: str, overload: str) -> Callable[..., Any] | None:
    """The function that hands an operator to the dispatcher, or None if this torch has no such operator.

    It takes the schema's arguments, keyword-only ones by name.
    """
    if (binding := _BINDINGS.get((name, overload))) is not None:
        return binding
    namespace, _, operator_name = name.partition("::")
    if namespace != "aten":
        return None
    try:
        packet = getattr(torch.ops.aten, operator_name)
        function: Callable[..., Any] = getattr(packet, overload or "default")
    except (AttributeError, RuntimeError):
        return None
    return function
