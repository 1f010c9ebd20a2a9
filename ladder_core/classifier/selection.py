"""Which of the tensors that forward returns are the class scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ladder_core.classifier.graph import TensorRef, Value
from ladder_core.classifier.head import LAYERS

_PREFERRED_KEYS = ("logits", "logit", "out", "output", "scores", "pred")
_ADDITIONS = frozenset({"aten::add", "aten::add_"})


def choose_scores(members: Mapping[int | str, Value], keys: Sequence[int | str]) -> int | str:
    """Choose by name, else by what is computed from what.

    The first item it is, unless a later item is a layer applied to it: then the first is an embedding, and
    the later one the scores. Other later items, such as latents, probabilities or a class, change nothing.

    Args:
        members: What forward returns, by position or name.
        keys: Those that are tensors on every way through the program; at least one.
    """
    named = next((key for key in _PREFERRED_KEYS if key in keys), None)
    if named is not None:
        return named
    chosen = keys[0]
    for key in keys[1:]:
        if _is_layer(members[key]) and _depends(members[key], members[chosen]):
            chosen = key
    return chosen


def _is_layer(value: Value) -> bool:
    """Whether a value is the result of a layer, its bias added by the layer or after it."""
    node = value.node
    if node is None:
        return False
    if node.name in _ADDITIONS:
        return any(item.node is not None and item.node.name in LAYERS for item in node.inputs)
    return node.name in LAYERS


def _depends(value: Value, other: Value) -> bool:
    """Whether ``value`` is computed from ``other``, or from the same layer called once more."""
    weights = _weights(other)
    seen: set[Value] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current is other or (weights and current is not value and _weights(current) == weights):
            return True
        if current not in seen and current.node is not None:
            seen.add(current)
            waiting += current.node.inputs
            waiting += [output for block in current.node.blocks for output in block.outputs]
    return False


def _weights(value: Value) -> frozenset[str]:
    """The names of the tensors of the layer whose result a value is."""
    if value.node is None or value.node.name not in LAYERS:
        return frozenset()
    return frozenset(item.source.name for item in value.node.inputs if isinstance(item.source, TensorRef))
