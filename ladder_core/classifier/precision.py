"""Half precision: such weights train in float32, so what the program casts to half must stay float32 too."""

from __future__ import annotations

import torch

from ladder_core.classifier.graph import Constant, Graph, Value, walk
from ladder_core.classifier.operators import DTYPE_CODES

_HALF = (DTYPE_CODES[torch.float16], DTYPE_CODES[torch.bfloat16])
_SINGLE = DTYPE_CODES[torch.float32]


def widen_casts(graph: Graph) -> None:
    """Turn the half types that a TorchScript program names into float32, in place.

    TorchScript writes types as integers, so only arguments that are declared as ``dtype`` count.
    """
    for node in walk(graph.block):
        if node.schema is None:
            continue
        for position, (value, argument) in enumerate(zip(node.inputs, node.schema.arguments, strict=False)):
            if argument.name == "dtype" and value.constant in _HALF:
                node.inputs[position] = Value(value.index, value.type, Constant(_SINGLE))
