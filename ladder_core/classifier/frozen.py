"""Give the constants of a frozen file back their roles: parameters, running statistics, or plain constants.

``torch.jit.freeze`` writes weights into the program text and leaves an empty state_dict. A constant in a
weight's place is a weight again here, under a name made of the operator, its number in program order and the
argument: ``conv2d_0.weight``. The same file always gives the same names.

In a file that is not frozen, a constant in a weight's place was constant for the user too (a fixed blur
kernel, say) and stays one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import cast

import torch

from ladder_core.classifier.attention import FUSED_ATTENTION
from ladder_core.classifier.graph import Graph, Node, TensorRef, Value, walk
from ladder_core.classifier.network import UploadedTensor
from ladder_core.classifier.operators import RECURRENT
from ladder_core.classifier.parse import forward_graph
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

_ROLE = re.compile(r"\w*(weight|bias)\w*|running_mean|running_var")
# Operators that do not call their weights so.
_ADDMM = {0: "bias", 2: "weight"}
_RECURRENT_WEIGHTS = 2
_PRODUCTS = frozenset({"aten::matmul", "aten::mm"})
_ADDITIONS = frozenset({"aten::add", "aten::add_"})


def is_frozen(script: torch.jit.ScriptModule) -> bool:
    """Whether the module went through ``torch.jit.freeze``, which removes every module's training flag."""
    compiled = (cast("torch._C.ScriptModule", module._c) for module in script.modules())  # noqa: SLF001
    return not any(module.hasattr("training") for module in compiled)  # type: ignore[attr-defined]


def separate_constants(script: torch.jit.ScriptModule) -> None:
    """Give each use of a uniform constant tensor its own copy.

    Freezing merges constants of equal value, and in a network that was never trained all biases are the same
    zeros. Trained, they must differ. Tensors that are not uniform are equal only where the user shared a
    weight, and stay shared.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if such a tensor belongs to fused attention. The program holds that
            layer twice, fused for prediction and unfused for training, and which of the merged uses were one
            weight can no longer be told.
    """
    graph = forward_graph(script)
    for node in list(graph.nodes()):
        if node.kind() != "prim::Constant":
            continue
        tensor = node.output().toIValue()
        if not isinstance(tensor, torch.Tensor) or tensor.dim() == 0 or not _is_uniform(tensor):
            continue
        uses = node.output().uses()
        if len(uses) > 1 and any(use.user.kind() in FUSED_ATTENTION for use in uses):
            raise ModelError(
                ErrorCode.MODEL_UNSUPPORTED,
                "the frozen transformer has weights still at their initial zeros or ones, which freezing has "
                "merged; save the model without torch.jit.freeze",
            )
        for use in uses[1:]:
            graph.setInsertPoint(node)
            copy = graph.insertConstant(tensor.clone())  # type: ignore[attr-defined]
            use.user.replaceInput(use.offset, copy)
    graph.setInsertPoint(graph.return_node())


def adopt_constants(graph: Graph, *, frozen: bool) -> dict[str, UploadedTensor]:
    """Name the tensors in the program text and say which of them train.

    Args:
        graph: The program; the names its values carry are changed to the returned ones.
        frozen: Whether constants in a weight's place are weights.

    Returns:
        The constant tensors that the program reads, by their new names.
    """
    roles = _roles(graph) if frozen else {}
    read = {_constant_key(value, graph) for value in _values(graph)}
    names: dict[str, str] = {}
    adopted: dict[str, UploadedTensor] = {}
    for key, tensor in graph.constants.items():
        if key not in read:
            continue
        role = roles.get(key)
        name = names[key] = role or f"constants.{key.removeprefix('constant.')}"
        is_statistic = name.endswith(("running_mean", "running_var"))
        trainable = role is not None and not is_statistic and tensor.is_floating_point()
        adopted[name] = UploadedTensor(tensor, trainable=trainable, persistent=role is not None)
    for value in _values(graph):
        constant = _constant_key(value, graph)
        if constant is not None:
            value.source = TensorRef(names[constant])
    return adopted


def _roles(graph: Graph) -> dict[str, str]:
    """The names of the constants in a weight's place; one that is used twice is named by its first use."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for node in walk(graph.block):
        operator = node.name.removeprefix("aten::").strip("_")
        roles = [(_constant_key(value, graph), role) for value, role in _weights(node)]
        for key, role in roles:
            if key is not None:
                names.setdefault(key, f"{operator}_{counts[operator]}.{role}")
        counts[operator] += bool(roles)
    return names


def _weights(node: Node) -> Iterator[tuple[Value, str]]:
    """The inputs of a node that are in a weight's place."""
    if node.schema is None:
        return
    if node.name in _ADDITIONS:
        first, second = node.inputs[:2]
        if _is_product(first):
            yield second, "bias"
        if _is_product(second):
            yield first, "bias"
    elif node.name in _PRODUCTS:
        yield node.inputs[1], "weight"
    elif node.name in RECURRENT:
        yield from _listed(node.inputs[_RECURRENT_WEIGHTS])
    elif node.name == "aten::addmm":
        yield from ((node.inputs[position], role) for position, role in _ADDMM.items())
    else:
        for argument, value in zip(node.schema.arguments, node.inputs, strict=False):
            if _ROLE.fullmatch(argument.name):
                yield value, argument.name


def _listed(weights: Value) -> Iterator[tuple[Value, str]]:
    for position, value in enumerate(weights.node.inputs if weights.node is not None else ()):
        yield value, f"weights_{position}"


def _is_product(value: Value) -> bool:
    return value.node is not None and value.node.name in _PRODUCTS


def _is_uniform(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and bool((tensor == tensor.flatten()[0]).all())


def _constant_key(value: Value, graph: Graph) -> str | None:
    if isinstance(value.source, TensorRef) and value.source.name in graph.constants:
        return value.source.name
    return None


def _values(graph: Graph) -> set[Value]:
    """Every value the program reads."""
    values = set(graph.block.outputs)
    for node in walk(graph.block):
        values.update(node.inputs)
        for block in node.blocks:
            values.update(block.outputs)
    return values
