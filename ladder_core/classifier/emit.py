"""Write a block of the program as one Python function.

The function reads ``w`` (its tensors), ``k`` (constants that are no plain literals), the latents or the image
batch, and ``training``. Every operation becomes one call, so a profile or traceback of an uploaded model
reads like its forward method. A tensor is deleted after its last use: no activation lives longer than in
eager code.

Nothing an upload names ends up in the source text. Identifiers are made here or are names of operators
PyTorch has registered; literals are None, booleans, integers and finite floats; every other constant, strings
included, stays in ``k``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ladder_core.classifier.graph import (
    RETURN,
    Block,
    Constant,
    Device,
    Node,
    TensorRef,
    Training,
    Value,
    walk,
)
from ladder_core.classifier.operators import dispatcher_function, python_function
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

_UNPACKINGS = ("prim::ListUnpack", "prim::TupleUnpack")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Function:
    """A compiled block.

    Attributes:
        call: ``call(w, *given, training)`` returns the tuple of results; ``w`` are the tensors of
        ``tensors``.
        tensors: The names of the tensors it reads, in the order of ``w``.
        source: The Python text that was compiled.
    """

    call: Callable[..., tuple[torch.Tensor, ...]]
    tensors: tuple[str, ...]
    source: str


def compile_block(name: str, block: Block, given: Sequence[Value]) -> Function:
    """Compile a block that ends in returns.

    Args:
        name: The function's name, an identifier of ours.
        block: The block.
        given: The values the caller passes, in order.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if the block holds an operator that no classifier is known to need.
    """
    emitter = _Emitter(block, given)
    lines = emitter.block(block, "    ")
    arguments = ", ".join(["w", *(emitter.text(value) for value in given), "training"])
    head = [f"def {name}({arguments}):"]
    if emitter.uses_device:
        head.append(f"    device = {emitter.text(given[0])}.device")
    if block.nodes[-1].name != RETURN:
        lines.append("    unreachable()")
    source = "\n".join([*head, *lines]) + "\n"
    namespace: dict[str, Any] = {**emitter.functions, "k": emitter.constants, "unreachable": _unreachable}
    exec(compile(source, f"<classifier {name}>", "exec"), namespace)  # noqa: S102 - see the module's docstring
    return Function(namespace[name], tuple(emitter.tensors), source)


def _unreachable() -> None:
    raise RuntimeError("the uploaded model took a branch that does not end in its classifier head")


@dataclass
class _Emitter:
    """The state of one function being written."""

    root: Block
    given: Sequence[Value]
    tensors: dict[str, int] = field(default_factory=dict)
    constants: list[object] = field(default_factory=list)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    uses_device: bool = False

    def __post_init__(self) -> None:
        self._names = {value: f"x{number}" for number, value in enumerate(self.given)}
        self._inline = _inline_lists(self.root)

    # Values

    def text(self, value: Value) -> str:
        """The expression that reads a value."""
        source = value.source
        if value in self._names:
            return self._names[value]
        if value in self._inline:
            return "[" + ", ".join(self.text(item) for item in self._inline[value]) + "]"
        if isinstance(source, Constant):
            return self._literal(source.value)
        if isinstance(source, TensorRef):
            return f"w[{self.tensors.setdefault(source.name, len(self.tensors))}]"
        if isinstance(source, Training):
            return "training"
        if isinstance(source, Device):
            self.uses_device = True
            return "device"
        return f"v{value.index}"

    def _literal(self, constant: object) -> str:
        if constant is None or isinstance(constant, (bool, int)):
            return repr(constant)
        if isinstance(constant, float) and math.isfinite(constant):
            return repr(constant)
        if isinstance(constant, list) and all(type(item) in (bool, int) for item in constant):
            # A fresh list for each use, as the program may change it.
            return repr(constant)
        self.constants.append(constant)
        return f"k[{len(self.constants) - 1}]"

    def _function(self, identifier: str, function: Callable[..., Any]) -> str:
        self.functions[identifier] = function
        return identifier

    # Statements

    def block(self, block: Block, indent: str) -> list[str]:
        """The statements of a block; what it defines is deleted after its last use in it."""
        lines: list[str] = []
        last_uses = _last_uses(block)
        for node in block.nodes:
            lines += [indent + line for line in self._statement(node)]
            if node.name != RETURN and (dead := [self.text(v) for v in last_uses.get(node, ())]):
                lines.append(f"{indent}del {', '.join(dead)}")
        return lines

    def _statement(self, node: Node) -> list[str]:
        if node.name == "prim::If":
            return self._if(node)
        if node.name == "prim::Loop":
            return self._loop(node)
        if node.name == RETURN:
            return [f"return ({''.join(self.text(value) + ', ' for value in node.inputs)})"]
        if node.outputs and all(output in self._inline for output in node.outputs):
            return []
        call = self._expression(node)
        targets = ", ".join(self.text(output) for output in node.outputs)
        if node.name in _UNPACKINGS:
            return [f"({targets},) = {call}"]
        return [f"{targets} = {call}" if targets else call]

    def _expression(self, node: Node) -> str:
        operands = [self.text(value) for value in node.inputs]
        if node.name in _UNPACKINGS:
            return operands[0]
        if node.name == "prim::ListConstruct":
            return f"[{', '.join(operands)}]"
        if node.name == "prim::TupleConstruct":
            return f"({''.join(operand + ', ' for operand in operands)})"
        if node.name == "prim::DictConstruct":
            pairs = zip(operands[::2], operands[1::2], strict=True)
            return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
        identifier = re.sub(r"\W+", "_", node.name) + (f"_{node.overload}" if node.overload else "")
        if not _IDENTIFIER.fullmatch(identifier):
            raise _unsupported(node.name)
        function = python_function(node.name, node.overload, takes_tensors=node.takes_tensors)
        if function is not None:
            return f"{self._function(identifier, function)}({', '.join(operands)})"
        function = dispatcher_function(node.name, node.overload)
        if function is None or node.schema is None:
            raise _unsupported(node.name)
        return f"{self._function(identifier, function)}({', '.join(_arguments(node, operands))})"

    def _if(self, node: Node) -> list[str]:
        lines = []
        for keyword, block in zip((f"if {self.text(node.inputs[0])}:", "else:"), node.blocks, strict=True):
            body = self.block(block, "    ")
            body += self._hand_over(node.outputs, block, block.outputs)
            if body or keyword != "else:":
                lines += [keyword, *(body or ["    pass"])]
        return lines

    def _loop(self, node: Node) -> list[str]:
        (body,) = node.blocks
        count, condition, *carried = node.inputs
        # Inside the body the carried values go by the names of the loop's outputs.
        for inside, outside in zip(body.inputs[1:], node.outputs, strict=True):
            self._names[inside] = self.text(outside)
        lines = self._assign(node.outputs, carried)
        proceed = f"proceed{body.inputs[0].index}"
        conditional = not (condition.is_constant and body.outputs[0].is_constant)
        if conditional:
            lines.append(f"{proceed} = {self.text(condition)}")
        lines.append(f"for {self.text(body.inputs[0])} in range({self.text(count)}):")
        inner = [f"    if not {proceed}:", "        break"] if conditional else []
        inner += self.block(body, "    ")
        if conditional:
            inner.append(f"    {proceed} = {self.text(body.outputs[0])}")
        inner += self._hand_over(node.outputs, body, body.outputs[1:])
        return [*lines, *(inner or ["    pass"])]

    def _assign(self, targets: Sequence[Value], values: Sequence[Value]) -> list[str]:
        if not values:
            return []
        left = ", ".join(self.text(value) for value in targets)
        right = ", ".join(self.text(value) for value in values)
        return [f"{left} = {right}"]

    def _hand_over(self, targets: Sequence[Value], block: Block, values: Sequence[Value]) -> list[str]:
        """Assign a block's results to the names its owner uses, and drop the block's own names for them."""
        own = {value for node in block.nodes for value in node.outputs if value.holds_tensor}
        lines = self._assign(targets, values)
        if dead := [self.text(value) for value in dict.fromkeys(values) if value in own]:
            lines.append(f"del {', '.join(dead)}")
        return ["    " + line for line in lines]


def _arguments(node: Node, operands: Sequence[str]) -> list[str]:
    """The call's arguments, without keywords that have their default."""
    assert node.schema is not None  # noqa: S101 - the caller has looked
    arguments = []
    for argument, value, operand in zip(node.schema.arguments, node.inputs, operands, strict=True):
        if not argument.kwarg_only:
            arguments.append(operand)
        elif not (value.is_constant and repr(value.constant) == repr(argument.default_value)):
            arguments.append(f"{argument.name}={operand}")
    return arguments


def _inline_lists(root: Block) -> dict[Value, list[Value]]:
    """Lists of constants that only tensor operators read: ``[1, 1]`` is written where it is used."""
    lists = {
        node.output: node.inputs
        for node in walk(root)
        if node.name == "prim::ListConstruct" and all(value.is_constant for value in node.inputs)
    }
    for node in walk(root):
        for value in node.inputs:
            if value in lists and (not node.takes_tensors or value in node.written):
                del lists[value]
        for value in (output for block in node.blocks for output in block.outputs):
            lists.pop(value, None)
    return lists


def _last_uses(block: Block) -> dict[Node, list[Value]]:
    """For each node of a block, the tensors the block defined that nothing in it needs afterwards."""
    own = {value for node in block.nodes for value in node.outputs if value.holds_tensor}
    alive = set(block.outputs)
    dying: dict[Node, list[Value]] = {}
    for node in reversed(block.nodes):
        touched = dict.fromkeys([*node.outputs, *node.inputs])
        for inner in node.blocks:
            touched.update(dict.fromkeys([*inner.outputs, *(v for n in walk(inner) for v in n.inputs)]))
            touched.update(dict.fromkeys(v for n in walk(inner) for b in n.blocks for v in b.outputs))
        dying[node] = [value for value in touched if value in own and value not in alive]
        alive.update(touched)
    return dying


def _unsupported(name: str) -> ModelError:
    return ModelError(
        ErrorCode.MODEL_UNSUPPORTED,
        f"the model uses the operator {name}, which this service does not run; "
        "upload a floating-point model built from PyTorch's own layers",
    )
