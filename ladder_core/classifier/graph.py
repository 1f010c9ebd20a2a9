"""The intermediate form between an uploaded program and the module we run.

A ``Graph`` is a forward method with every call inlined, in static single assignment: each ``Value`` is
defined once, either by a ``Node`` or by a ``Leaf`` (an argument, a tensor of the module, a constant ...).
The form is plain Python, so that everything after parsing is independent of ``torch._C``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

RETURN = "ladder::return"
"""The node that leaves the function with its inputs; only our own slices of a program hold it."""


@dataclass(frozen=True, slots=True)
class Argument:
    """The images: the one argument of forward that callers give. All others keep their defaults."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value known at compile time: None, a number, a string, a list of such."""

    value: object


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A parameter, buffer or constant tensor, by its name in the network."""

    name: str


@dataclass(frozen=True, slots=True)
class Training:
    """The live flag that ``train()`` and ``eval()`` switch."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device the file names; at run time it is wherever the input lives."""


@dataclass(frozen=True, slots=True)
class BlockInput:
    """What a loop carries into its body."""


Leaf = Argument | Constant | TensorRef | Training | Device | BlockInput


@dataclass(eq=False, slots=True)
class Value:
    """One value of the program; compared by identity."""

    index: int
    type: str
    """As TorchScript writes it: ``Tensor``, ``int``, ``Tensor[]``, ``Optional[Tensor]``."""
    source: Leaf | Node

    @property
    def node(self) -> Node | None:
        """The node that computes the value, None for a leaf."""
        return self.source if isinstance(self.source, Node) else None

    @property
    def constant(self) -> object:
        """The compile-time value; only meaningful where ``is_constant``."""
        return self.source.value if isinstance(self.source, Constant) else None

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at compile time."""
        return isinstance(self.source, Constant)

    @property
    def is_none(self) -> bool:
        """Whether the value is known to be None."""
        return isinstance(self.source, Constant) and self.source.value is None

    @property
    def holds_tensor(self) -> bool:
        """Whether the value is a tensor or a container of tensors."""
        return "Tensor" in self.type


@dataclass(eq=False, slots=True)
class Block:
    """A sequence of nodes: the body of forward, of a branch or of a loop."""

    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Node:
    """One operation; ``blocks`` are the branches of ``prim::If`` or the body of ``prim::Loop``."""

    name: str
    schema: torch._C.FunctionSchema | None
    inputs: list[Value]
    outputs: list[Value]
    blocks: list[Block] = field(default_factory=list)

    @property
    def output(self) -> Value:
        """The only output."""
        (output,) = self.outputs
        return output

    @property
    def overload(self) -> str:
        """The schema's overload name, ``""`` for the default one."""
        return self.schema.overload_name if self.schema is not None else ""

    @property
    def takes_tensors(self) -> bool:
        """Whether any declared argument is a tensor, so that the dispatcher must run the operation."""
        return self.schema is not None and any("Tensor" in str(a.type) for a in self.schema.arguments)

    @property
    def written(self) -> list[Value]:
        """The inputs the operation changes in place."""
        if self.schema is None:
            return []
        arguments = zip(self.inputs, self.schema.arguments, strict=False)
        return [value for value, argument in arguments if argument.is_write]

    @property
    def has_effect(self) -> bool:
        """Whether the operation matters even when its outputs are unused."""
        return self.name in ("prim::RaiseException", RETURN) or bool(self.written)


@dataclass(eq=False, slots=True)
class Graph:
    """A forward method: its argument, its body and the tensors that are written into the program text."""

    images: Value
    block: Block
    constants: dict[str, torch.Tensor]
    """Tensors baked into the program, by the name their ``TensorRef`` uses."""
    baked: Baked

    @property
    def output(self) -> Value:
        """What forward returns."""
        (output,) = self.block.outputs
        return output


@dataclass(slots=True)
class Baked:
    """What the file had fixed and we turned back into something live."""

    modes: list[str] = field(default_factory=list)
    """Operators (``batch_norm``, ``dropout``) whose training flag was a constant."""
    devices: set[str] = field(default_factory=set)
    """The kinds of device (``cuda``) that the program names."""
    lists: bool = False
    """Whether a module keeps weights in a list as well, where PyTorch moves them to no other device."""


def walk(block: Block) -> Iterator[Node]:
    """Yield every node of a block in program order, a node before what its blocks hold."""
    for node in block.nodes:
        yield node
        for inner in node.blocks:
            yield from walk(inner)


def tensor_names(block: Block) -> set[str]:
    """The names of all tensors a block reads."""
    names = set()
    for node in walk(block):
        for value in [*node.inputs, *(v for inner in node.blocks for v in inner.outputs)]:
            if isinstance(value.source, TensorRef):
                names.add(value.source.name)
    return names


def dynamic_values(graph: Graph) -> set[Value]:
    """The values that depend on the images; all others are functions of the weights alone.

    A container or tensor that is written with something dynamic becomes dynamic itself, which can reach
    values before the write, so the analysis runs to a fixed point.
    """
    dynamic = {graph.images}
    size = -1
    while len(dynamic) != size:
        size = len(dynamic)
        for node in walk(graph.block):
            _propagate(node, dynamic)
    return dynamic


def writes_images(graph: Graph) -> bool:
    """Whether forward may change its argument in place: itself, or a view of it."""
    aliases = {graph.images}
    size = -1
    while len(aliases) != size:
        size = len(aliases)
        for node in walk(graph.block):
            if any(value in aliases for value in node.inputs) and _may_alias(node):
                aliases.update(value for value in node.outputs if value.holds_tensor)
            for block in node.blocks:
                _join(node, block, aliases)
    return any(value in aliases for node in walk(graph.block) for value in node.written)


def _may_alias(node: Node) -> bool:
    """Whether a result can share memory with an operand; containers and identities in eval mode do."""
    if node.schema is None or node.name in ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout"):
        return True
    return any(argument.alias_info is not None for argument in node.schema.arguments)


def _join(node: Node, block: Block, values: set[Value]) -> None:
    """Carry membership in ``values`` into a block of ``node`` and out of it."""
    if node.name == "prim::Loop":
        pairs = zip(block.inputs[1:], node.inputs[2:], block.outputs[1:], node.outputs, strict=True)
        for inside, before, after, outside in pairs:
            if before in values or after in values:
                values.update((inside, outside))
    else:
        values.update(o for o, v in zip(node.outputs, block.outputs, strict=True) if v in values)


def _propagate(node: Node, dynamic: set[Value]) -> None:
    if any(value in dynamic for value in node.inputs):
        dynamic.update(node.outputs)
        dynamic.update(node.written)
    for block in node.blocks:
        _join(node, block, dynamic)
