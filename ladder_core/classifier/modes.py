"""Turn a training flag that tracing or exporting had fixed into the live one."""

from __future__ import annotations

from ladder_core.classifier.graph import Node, Value
from ladder_core.classifier.operators import MODE_ARGUMENTS, RECURRENT
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

_NORMS = frozenset({"aten::batch_norm", "aten::instance_norm"})
_RUNNING_MEAN = 3
_RECURRENT_DROPOUT = 5


def has_fixed_mode(node: Node) -> bool:
    """Whether a node's training flag was written down as a constant and makes a difference.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if it was written down as true: the file's answers are random, or
            depend on the batch.
    """
    position = MODE_ARGUMENTS.get(node.name)
    if position is None or not node.inputs[position].is_constant:
        return False
    if node.name in _NORMS:
        # Without running statistics the batch's own are used in both modes: nothing to revive.
        if node.inputs[_RUNNING_MEAN].is_none:
            return False
    elif node.name in RECURRENT:
        # Of packed sequences, which no image is, the flag is elsewhere; without dropout it means nothing.
        dropout = node.inputs[_RECURRENT_DROPOUT]
        if node.schema is None or node.schema.overload_name != "input" or not dropout.constant:
            return False
    elif "dropout" in node.name and node.inputs[1].is_constant and not node.inputs[1].constant:
        return False
    if node.inputs[position].constant:
        raise always_training(node.name.removeprefix("aten::"))
    return True


def revive_mode(node: Node, training: Value) -> None:
    """Connect the training flag of a node to ``training``."""
    node.inputs[MODE_ARGUMENTS[node.name]] = training


def always_training(operator: str) -> ModelError:
    """The error for an operator that is in training mode for good."""
    return ModelError(
        ErrorCode.MODEL_UNSUPPORTED,
        f"{operator} is always in training mode, so the model's answers are random or depend on the batch; "
        "call model.eval() before torch.jit.trace or torch.export.export, and pass training=self.training "
        "to functional dropout",
    )


def gradients_hidden(context: str) -> ModelError:
    """The error for a part of forward within ``torch.no_grad`` or autocast, which the program would keep.

    Args:
        context: What it is within, as users write it.
    """
    return ModelError(
        ErrorCode.MODEL_UNSUPPORTED,
        f"forward runs a part of the model within {context}, which changes or hides the gradients that "
        "attacks and training need; save the model without it",
    )
