"""Values of a program that are known before it runs."""

from __future__ import annotations

from ladder_core.classifier.graph import Constant, Node, TensorRef, Value
from ladder_core.classifier.operators import scalar_function

# Folding runs on the program's word: what it makes stays as small as what the program could spell out.
_GROWING = frozenset({"aten::pow", "aten::__lshift__"})
_MAX_BITS = 64
_MAX_LENGTH = 1 << 16


def fold(node: Node) -> Constant | None:
    """Evaluate an operation on constants; also ``tensor is None``, which is known without running."""
    if node.name in ("aten::__is__", "aten::__isnot__"):
        first, second = node.inputs
        if isinstance(first.source, TensorRef) and second.is_none:
            return Constant(node.name == "aten::__isnot__")
    if node.takes_tensors or not all(value.is_constant for value in node.inputs):
        return None
    function = scalar_function(node.name, node.overload)
    if function is None:
        return None
    operands = [value.constant for value in node.inputs]
    exponents = operands[1:] if node.name in _GROWING else []
    if any(isinstance(exponent, int) and abs(exponent) > _MAX_BITS for exponent in exponents):
        return None
    try:
        result = function(*operands)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return Constant(result) if _is_small(result) else None


def _is_small(constant: object) -> bool:
    """Whether a number is one of TorchScript's, and a text or list is short."""
    if isinstance(constant, int):
        return constant.bit_length() <= _MAX_BITS
    return not isinstance(constant, (str, list, tuple, dict)) or len(constant) <= _MAX_LENGTH


def tuple_items(node: Node) -> list[Value] | None:
    """The values an operation takes from a tuple that the program itself has built."""
    producer = node.inputs[0].node if node.inputs else None
    if producer is None or producer.name != "prim::TupleConstruct":
        return None
    if node.name == "prim::TupleUnpack":
        return producer.inputs
    if node.name == "prim::TupleIndex" and isinstance(position := node.inputs[1].constant, int):
        return [producer.inputs[position]]
    return None


def shape_number(node: Node) -> Value | None:
    """The number behind ``int(tensor(number))``, as tracing writes every use of a tensor's size."""
    if node.name != "aten::Int" or not node.takes_tensors:
        return None
    producer = node.inputs[0].node
    if producer is None or producer.name != "prim::NumToTensor" or producer.inputs[0].type != "int":
        return None
    return producer.inputs[0]
