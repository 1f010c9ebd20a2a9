"""From a loaded ScriptModule to our own ``Graph``: calls inlined, attributes resolved, dead branches gone.

Non-tensor attributes are constants of the loaded module, so every test on them ("has this layer a bias?") is
decided here, and a branch never taken is never parsed. This matters beyond speed: a scripted model's untaken
branches can hold linear layers that look like classifier heads.

What a trace had fixed is made live again: the training flag of batch norm and dropout, and the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch

from ladder_core.classifier.folding import fold, shape_number, tuple_items
from ladder_core.classifier.graph import (
    Argument,
    Baked,
    Block,
    BlockInput,
    Constant,
    Device,
    Graph,
    Leaf,
    Node,
    TensorRef,
    Training,
    Value,
)
from ladder_core.classifier.modes import gradients_hidden, has_fixed_mode, revive_mode
from ladder_core.classifier.operators import ALIASES, IGNORED
from ladder_core.errors import ModelError


def parse(script: torch.jit.ScriptModule) -> Graph:
    """Parse the forward method of a loaded module.

    Args:
        script: A module from ``torch.jit.load``; it is only read.

    Returns:
        The graph of ``forward``. Its ``TensorRef`` names are attribute paths of ``script``
        (``layer1.0.conv1.weight``), or ``constant.<n>`` for the n-th tensor in the program text.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if the program holds something a classifier's forward does not need:
            custom classes, attributes assigned in forward, calls that cannot be inlined, or a batch norm or
            dropout that is always in training mode.
    """
    source = forward_graph(script).copy()
    torch._C._jit_pass_inline(source)  # noqa: SLF001 - the graph has no public interface
    return _Parser(script).parse(source)


def forward_graph(script: torch.jit.ScriptModule) -> torch._C.Graph:
    """The module's own graph of ``forward``.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if there is none.
    """
    try:
        return script.graph
    except (RuntimeError, AttributeError) as error:
        raise ModelError.unsupported(
            "the file has no forward method; trace or script the whole model"
        ) from error


class _Parser:
    """One pass over the inlined graph, in program order, so every operand is known before its use."""

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        self._script = script
        self._tensors = dict([*script.named_parameters(remove_duplicate=False), *script.named_buffers()])
        self._places = {_place(tensor): name for name, tensor in self._tensors.items()}
        self._values: dict[int, Value] = {}
        self._modules: dict[int, tuple[str, ...]] = {}
        self._constants: dict[str, torch.Tensor] = {}
        self._baked = Baked()
        self._count = 0

    def parse(self, source: torch._C.Graph) -> Graph:
        this, images, *options = source.inputs()
        self._modules[this.unique()] = ()
        argument = self._bind(images, Argument())
        declared = cast("Any", self._script.forward).schema.arguments[2:]
        for value, option in zip(options, declared, strict=True):
            if not option.has_default_value():
                raise ModelError.unsupported(
                    f"forward needs {len(options) + 1} arguments; a classifier's forward needs one, the "
                    "images"
                )
            self._bind(value, self._plain_constant(option.default_value, f"the default of {option.name}"))
        block = Block()
        self._parse_nodes(source.nodes(), block)
        block.outputs = [self._value(value) for value in source.outputs()]
        return Graph(argument, block, self._constants, self._baked)

    def _parse_nodes(self, nodes: Iterable[torch._C.Node], block: Block) -> None:
        """Append the meaning of ``nodes`` to ``block``; leaves and folded constants only name values."""
        for node in nodes:
            kind = node.kind()
            if kind == "prim::Constant":
                self._parse_constant(node)
            elif kind == "prim::GetAttr":
                self._parse_attribute(node, block)
            elif kind in ALIASES:
                self._values[node.output().unique()] = self._value(next(iter(node.inputs())))
            elif kind == "prim::If":
                self._parse_if(node, block)
            elif kind == "prim::Loop":
                self._parse_loop(node, block)
            elif kind not in IGNORED:
                self._parse_operation(node, block)

    # Leaves

    def _parse_constant(self, node: torch._C.Node) -> None:
        output = node.output()
        try:
            constant: object = output.toIValue()
        except RuntimeError as error:
            raise ModelError.unsupported(f"the program holds a constant of type {output.type()}") from error
        if isinstance(constant, torch.Tensor) and constant.dim() == 0:
            # Tracing makes zero-dimensional tensors of numbers. Left on the CPU they mix with tensors of any
            # device; moved, they would cost a synchronisation wherever a size is computed from them.
            self._bind(output, Constant(constant))
        elif isinstance(constant, torch.Tensor):
            name = f"constant.{len(self._constants)}"
            self._constants[name] = constant
            self._bind(output, TensorRef(name))
        elif isinstance(constant, torch.device):
            self._baked.devices.add(constant.type)
            self._bind(output, Device())
        else:
            self._bind(output, self._plain_constant(constant, str(output.type())))

    def _parse_attribute(self, node: torch._C.Node, block: Block) -> None:
        owner = self._modules.get(next(iter(node.inputs())).unique())
        if owner is None:
            raise ModelError.unsupported("the program reads attributes of an object that is no module")
        output, name = node.output(), node.s("name")
        path = (*owner, name)
        if ".".join(path) in self._tensors:
            self._bind(output, TensorRef(".".join(path)))
        elif name == "training":
            self._bind(output, Training())
        else:
            attribute = self._attribute(path)
            if isinstance(attribute, torch.jit.ScriptModule):
                self._modules[output.unique()] = path
            elif (names := self._names_of(attribute)) is not None:
                # The weights of a recurrent layer, which it also keeps in a list.
                self._baked.lists = True
                weights = [self._leaf(TensorRef(name), "Tensor") for name in names]
                parsed = Node("prim::ListConstruct", None, weights, [])
                parsed.outputs = [self._bind(output, parsed)]
                block.nodes.append(parsed)
            else:
                self._bind(output, self._plain_constant(attribute, f"{'.'.join(path)}: {output.type()}"))

    def _names_of(self, attribute: object) -> list[str] | None:
        """The names of a list's tensors; None unless each is a parameter or buffer, in the same memory."""
        if not isinstance(attribute, list) or not attribute:
            return None
        if not all(isinstance(item, torch.Tensor) for item in attribute):
            return None
        names = [self._places.get(_place(tensor)) for tensor in attribute]
        return None if None in names else cast("list[str]", names)

    def _attribute(self, path: tuple[str, ...]) -> object:
        attribute: object = self._script
        try:
            for name in path:
                attribute = getattr(attribute, name)
        except (AttributeError, RuntimeError) as error:
            message = f"the attribute {'.'.join(path)} has a type this service cannot read"
            raise ModelError.unsupported(message) from error
        return attribute

    def _plain_constant(self, constant: object, description: str) -> Constant | Device:
        if isinstance(constant, torch.device):
            self._baked.devices.add(constant.type)
            return Device()
        if _is_plain(constant):
            return Constant(constant)
        raise ModelError.unsupported(
            f"the program uses a constant this service cannot carry over ({description}); "
            "keep numbers, strings, lists of them and registered buffers only"
        )

    # Control flow

    def _parse_if(self, node: torch._C.Node, block: Block) -> None:
        condition = self._value(next(iter(node.inputs())))
        branches = list(node.blocks())
        if condition.is_constant:
            taken = branches[0] if condition.constant else branches[1]
            self._parse_nodes(taken.nodes(), block)
            for output, value in zip(node.outputs(), taken.outputs(), strict=True):
                self._values[output.unique()] = self._value(value)
            return
        parsed = Node("prim::If", None, [condition], [])
        for branch in branches:
            inner = Block()
            self._parse_nodes(branch.nodes(), inner)
            inner.outputs = [self._value(value) for value in branch.outputs()]
            parsed.blocks.append(inner)
        parsed.outputs = [self._bind(output, parsed) for output in node.outputs()]
        block.nodes.append(parsed)

    def _parse_loop(self, node: torch._C.Node, block: Block) -> None:
        (body,) = node.blocks()
        parsed = Node("prim::Loop", None, [self._value(value) for value in node.inputs()], [])
        inner = Block(inputs=[self._bind(value, BlockInput()) for value in body.inputs()])
        self._parse_nodes(body.nodes(), inner)
        inner.outputs = [self._value(value) for value in body.outputs()]
        parsed.blocks.append(inner)
        parsed.outputs = [self._bind(output, parsed) for output in node.outputs()]
        block.nodes.append(parsed)

    # Operations

    def _parse_operation(self, node: torch._C.Node, block: Block) -> None:
        name, text = node.kind(), node.schema()
        if name == "prim::CreateObject" and (context := _context(str(node.output().type()))) is not None:
            raise gradients_hidden(context)
        if name == "prim::SetAttr":
            raise ModelError.unsupported(
                "forward assigns an attribute of the model; keep such state in a buffer changed in place"
            )
        if name in ("prim::CallMethod", "prim::CallFunction"):
            raise ModelError.unsupported(
                "the program calls a method that cannot be inlined (an interface type)"
            )
        schema = torch._C.parse_schema(text) if "::" in text else None  # noqa: SLF001
        parsed = Node(name, schema, [self._value(value) for value in node.inputs()], [])
        outputs = list(node.outputs())
        if (items := tuple_items(parsed)) is not None:
            self._values.update(zip((output.unique() for output in outputs), items, strict=True))
            return
        if len(outputs) == 1 and (folded := fold(parsed)) is not None:
            self._values[outputs[0].unique()] = self._leaf(folded, str(outputs[0].type()))
            return
        if len(outputs) == 1 and (same := shape_number(parsed)) is not None:
            self._values[outputs[0].unique()] = same
            return
        self._revive_mode(parsed)
        parsed.outputs = [self._bind(output, parsed) for output in outputs]
        block.nodes.append(parsed)

    def _revive_mode(self, node: Node) -> None:
        """Connect a training flag that tracing had fixed to the live one."""
        if has_fixed_mode(node):
            self._baked.modes.append(node.name.removeprefix("aten::"))
            revive_mode(node, self._leaf(Training(), "bool"))

    # Values

    def _value(self, value: torch._C.Value) -> Value:
        known = self._values.get(value.unique())
        if known is None:
            raise ModelError.unsupported("the program passes a module or custom object as a value")
        return known

    def _bind(self, value: torch._C.Value, source: Leaf | Node) -> Value:
        bound = self._leaf(source, str(value.type()))
        self._values[value.unique()] = bound
        return bound

    def _leaf(self, source: Leaf | Node, type_text: str) -> Value:
        self._count += 1
        return Value(self._count, type_text, source)


def _place(tensor: torch.Tensor) -> tuple[int, torch.Size, tuple[int, ...]]:
    """What tells a tensor from all others that are not the same memory in the same shape."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _context(type_text: str) -> str | None:
    """The context manager of PyTorch that a type of an object is, as users write it."""
    if ".autograd.grad_mode." in type_text:
        return f"torch.{type_text.rpartition('.')[2]}()"
    return "torch.autocast()" if ".autocast_mode." in type_text else None


def _is_plain(constant: object) -> bool:
    if isinstance(constant, (list, tuple)):
        return all(_is_plain(item) for item in constant)
    if isinstance(constant, dict):
        return all(_is_plain(item) for pair in constant.items() for item in pair)
    return constant is None or isinstance(constant, (bool, int, float, complex, str))
