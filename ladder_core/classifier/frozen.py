"""Give the constants of a frozen file back their roles: parameters, running statistics, or plain constants.

``torch.jit.freeze`` writes every weight into the program text and leaves an empty state_dict. A constant in a
weight's place is a weight again here, under a name made of the operator, its number in program order and the
argument: ``conv2d_0.weight``. The same file always gives the same names.

In a file that still has parameters, a constant in a weight's place was constant for the user too (a fixed
blur kernel, say) and stays one.
"""

from __future__ import annotations

from collections import Counter

from ladder_core.classifier.graph import Graph, Node, TensorRef, Value, walk
from ladder_core.classifier.network import UploadedTensor

_WEIGHTED = {1: "weight", 2: "bias"}
_NORMALISED = {2: "weight", 3: "bias"}
_WITH_STATISTICS = {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"}
_PRODUCT = {1: "weight"}
_ROLES: dict[str, dict[int, str]] = {
    "aten::_convolution": _WEIGHTED,
    "aten::_convolution_mode": _WEIGHTED,
    "aten::addmm": {0: "bias", 2: "weight"},
    "aten::batch_norm": _WITH_STATISTICS,
    "aten::conv1d": _WEIGHTED,
    "aten::conv2d": _WEIGHTED,
    "aten::conv3d": _WEIGHTED,
    "aten::conv_transpose2d": _WEIGHTED,
    "aten::group_norm": _NORMALISED,
    "aten::instance_norm": _WITH_STATISTICS,
    "aten::layer_norm": _NORMALISED,
    "aten::linear": _WEIGHTED,
    "aten::matmul": _PRODUCT,
    "aten::mm": _PRODUCT,
    "aten::prelu": _PRODUCT,
}
_ADDITIONS = frozenset({"aten::add", "aten::add_"})
_PRODUCTS = frozenset({"aten::matmul", "aten::mm"})


def adopt_constants(graph: Graph, *, frozen: bool) -> dict[str, UploadedTensor]:
    """Name the tensors in the program text and say which of them train.

    Args:
        graph: The program; the names its values carry are changed to the returned ones.
        frozen: Whether the file has no parameters of its own.

    Returns:
        Every constant tensor of the graph, by its new name.
    """
    names = _frozen_names(graph) if frozen else {}
    adopted: dict[str, UploadedTensor] = {}
    for key, tensor in graph.constants.items():
        role = names.get(key)
        name = role or f"constants.{key.removeprefix('constant.')}"
        is_statistic = name.endswith(("running_mean", "running_var"))
        trainable = role is not None and not is_statistic and tensor.is_floating_point()
        adopted[name] = UploadedTensor(tensor, trainable=trainable, persistent=role is not None)
        names[key] = name
    for value in _constant_values(graph):
        assert isinstance(value.source, TensorRef)  # noqa: S101 - what _constant_values selects
        value.source = TensorRef(names[value.source.name])
    return adopted


def _frozen_names(graph: Graph) -> dict[str, str]:
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for node in walk(graph.block):
        roles = _roles(node)
        if not roles:
            continue
        operator = node.name.removeprefix("aten::").strip("_")
        for position, role in roles.items():
            key = _constant_key(node.inputs[position], graph)
            if key is not None:
                names.setdefault(key, f"{operator}_{counts[operator]}.{role}")
        counts[operator] += 1
    return names


def _roles(node: Node) -> dict[int, str]:
    if node.name in _ADDITIONS:
        producers = [value.node.name if value.node is not None else "" for value in node.inputs[:2]]
        return {1 - i: "bias" for i, producer in enumerate(producers) if producer in _PRODUCTS}
    return _ROLES.get(node.name, {})


def _constant_key(value: Value, graph: Graph) -> str | None:
    if isinstance(value.source, TensorRef) and value.source.name in graph.constants:
        return value.source.name
    return None


def _constant_values(graph: Graph) -> set[Value]:
    values: set[Value] = set()
    for node in walk(graph.block):
        for value in [*node.inputs, *(output for block in node.blocks for output in block.outputs)]:
            if _constant_key(value, graph) is not None:
                values.add(value)
    return values
