"""From a ``torch.export`` program to our own ``Graph``.

An exported program is already flat: calls of registered operators, whose parameters, buffers and constants
are arguments of the graph. What is left to do is to name those, to write out default arguments (later steps
find an argument by its position), to give the operators TorchScript's names where the two differ, and to make
live again what exporting had fixed: the training flag of batch norm and dropout, and the device.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from ladder_core.classifier.export_operators import ASSERTIONS, NAMES, NUMBERS, arguments_of
from ladder_core.classifier.graph import (
    Argument,
    Baked,
    Block,
    Constant,
    Device,
    Graph,
    Leaf,
    Node,
    TensorRef,
    Training,
    Value,
)
from ladder_core.classifier.modes import always_training, gradients_hidden, has_fixed_mode, revive_mode
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode

_TENSORS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
_HALF = (torch.float16, torch.bfloat16)

_CONTEXTS: Mapping[object, str] = {
    torch.ops.higher_order.wrap_with_set_grad_enabled: "torch.no_grad()",
    torch.ops.higher_order.wrap_with_autocast: "torch.autocast()",
}
_EVAL_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default  # noqa: SLF001
_TRAINING_BATCH_NORM = "aten::_native_batch_norm_legit"


def parse_export(program: torch.export.ExportedProgram, graph: fx.Graph, *, is_half: bool) -> Graph:
    """Parse the forward method of an exported program.

    Args:
        program: The program; it is only read.
        graph: Its graph, or an edited copy of it.
        is_half: Whether its weights have half precision; the numbers it casts to half stay float32 then, as
            the weights do.

    Returns:
        The graph of ``forward``. Its ``TensorRef`` names are those of the state_dict and of
        ``program.constants``.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if the program holds something a classifier's forward does not need:
            custom operators or objects, state assigned in forward, several inputs, or a batch norm or dropout
            that is always in training mode.
    """
    return _Parser(program, is_half=is_half).parse(graph)


def image_input(program: torch.export.ExportedProgram) -> InputSpec:
    """The one input of the program that is a tensor.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if there is none, or several.
    """
    inputs = [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
    tensors = [spec for spec in inputs if isinstance(spec.arg, TensorArgument)]
    if len(tensors) != 1 or not all(
        isinstance(spec.arg, (TensorArgument, ConstantArgument)) for spec in inputs
    ):
        raise ModelError.unsupported(
            f"forward needs {len(inputs)} arguments; a classifier's forward needs one, the images"
        )
    images: InputSpec = tensors[0]
    return images


class _Parser:
    """One pass over the graph, in program order, so every operand is known before its use."""

    def __init__(self, program: torch.export.ExportedProgram, *, is_half: bool) -> None:
        self._program = program
        self._is_half = is_half
        self._values: dict[fx.Node, Value | tuple[Value, ...]] = {}
        self._baked = Baked()
        self._count = 0

    def parse(self, graph: fx.Graph) -> Graph:
        images = self._bind_inputs(graph.find_nodes(op="placeholder"))
        block = Block()
        results = self._parse_nodes(graph, self._program.graph_module, block)
        specs = self._program.graph_signature.output_specs
        if any(spec.kind is not OutputKind.USER_OUTPUT for spec in specs):
            raise ModelError.unsupported(
                "forward assigns a buffer of the model; call model.eval() before torch.export.export, and "
                "leave buffers as they are in eval mode"
            )
        leaves = [self._operand(result, block) for result in results]
        block.outputs = [self._container(pytree.tree_unflatten(leaves, self._out_spec), block)]
        return Graph(images, block, {}, self._baked)

    @property
    def _out_spec(self) -> pytree.TreeSpec:
        out_spec: pytree.TreeSpec | None = self._program.call_spec.out_spec
        assert out_spec is not None  # noqa: S101 - every program that was exported has one
        return out_spec

    def _bind_inputs(self, nodes: Sequence[fx.Node]) -> Value:
        images = image_input(self._program)
        argument = self._leaf(Argument(), "Tensor")
        for node, spec in zip(nodes, self._program.graph_signature.input_specs, strict=True):
            if spec is images:
                self._values[node] = argument
            elif spec.kind in _TENSORS and spec.target is not None:
                self._values[node] = self._leaf(TensorRef(spec.target), "Tensor")
            elif isinstance(spec.arg, ConstantArgument):
                self._values[node] = self._constant(spec.arg.value)
            else:
                raise ModelError.unsupported(
                    "the program holds a custom object; keep to tensors and PyTorch's layers"
                )
        return argument

    def _parse_nodes(self, graph: fx.Graph, owner: torch.nn.Module, block: Block) -> tuple[Any, ...]:
        """Append the meaning of a graph to ``block``; what the graph returns."""
        for node in graph.nodes:
            if node.op == "call_function":
                self._parse_call(node, owner, block)
            elif node.op == "output":
                return tuple(node.args[0])
            elif node.op not in ("placeholder", "get_attr"):
                raise ModelError.unsupported(f"the program holds a node of kind {node.op}")
        return ()

    def _parse_call(self, node: fx.Node, owner: torch.nn.Module, block: Block) -> None:
        target: Any = node.target
        if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
            self._parse_operator(node, target, block)
        elif target is operator.getitem:
            self._parse_item(node, block)
        elif target is torch.ops.higher_order.cond:
            self._parse_condition(node, owner, block)
        elif target in NUMBERS:
            inputs = [self._operand(argument, block) for argument in node.args]
            self._values[node] = self._append(block, NUMBERS[target], None, inputs, ["int"])[0]
        elif target in _CONTEXTS:
            raise gradients_hidden(_CONTEXTS[target])
        else:
            raise ModelError.unsupported(
                f"the program calls {getattr(target, '__name__', target)}, which this service does not run; "
                "upload a model built from PyTorch's own layers"
            )

    # Operators

    def _parse_operator(self, node: fx.Node, target: torch._ops.OpOverload[..., Any], block: Block) -> None:
        schema = target._schema  # noqa: SLF001 - has no public name
        if target.namespace != "aten":
            raise ModelError.unsupported(
                f"the program uses the custom operator {schema.name}; use PyTorch's own"
            )
        if schema.name in ASSERTIONS:
            return
        if target is _EVAL_BATCH_NORM:
            self._parse_batch_norm(node, block)
            return
        if schema.name == _TRAINING_BATCH_NORM:
            raise always_training("batch_norm")
        inputs = [self._operand(argument, block) for argument in arguments_of(node, schema)]
        types = [str(result.type) for result in schema.returns]
        outputs = self._append(block, NAMES.get(schema.name, schema.name), schema, inputs, types)
        self._values[node] = outputs[0] if len(outputs) == 1 else outputs

    def _parse_batch_norm(self, node: fx.Node, block: Block) -> None:
        """The batch norm of a decomposed program, which has no training flag, as one that has.

        It returns the batch's statistics too; only a backward pass would use those.
        """
        if any(user.args[1] != 0 and user.users for user in node.users):
            raise ModelError.unsupported(
                "the program uses the statistics that a batch norm in eval mode returns"
            )
        schema = torch.ops.aten.batch_norm.default._schema  # noqa: SLF001 - has no public name
        *tensors, momentum, eps = (self._operand(argument, block) for argument in node.args)
        training, cudnn = self._leaf(Training(), "bool"), self._constant(obj=True)
        inputs = [*tensors, training, momentum, eps, cudnn]
        self._values[node] = self._append(block, "aten::batch_norm", schema, inputs, ["Tensor"])
        self._baked.modes.append("batch_norm")

    def _parse_item(self, node: fx.Node, block: Block) -> None:
        source, position = node.args
        assert isinstance(source, fx.Node)  # noqa: S101 - items are only taken from results
        values = self._values[source]
        if not isinstance(values, tuple):
            inputs = [values, self._constant(position)]
            self._values[node] = self._append(block, "prim::TupleIndex", None, inputs, ["Tensor"])[0]
        elif isinstance(position, int) and position < len(values):
            self._values[node] = values[position]

    def _append(
        self,
        block: Block,
        name: str,
        schema: torch._C.FunctionSchema | None,
        inputs: list[Value],
        types: Sequence[str],
    ) -> tuple[Value, ...]:
        node = Node(name, schema, inputs, [])
        node.outputs = [self._leaf(node, text) for text in types]
        if has_fixed_mode(node):
            self._baked.modes.append(name.removeprefix("aten::"))
            revive_mode(node, self._leaf(Training(), "bool"))
        block.nodes.append(node)
        return tuple(node.outputs)

    # Control flow

    def _parse_condition(self, node: fx.Node, owner: torch.nn.Module, block: Block) -> None:
        """``torch.cond``: both branches are graphs of their own, which get their operands as arguments."""
        condition, *branches, operands = node.args
        parsed = Node("prim::If", None, [self._operand(condition, block)], [])
        assert isinstance(operands, (list, tuple))  # noqa: S101 - as torch.cond is declared
        given = [self._operand(operand, block) for operand in operands]
        for branch in branches:
            assert isinstance(branch, fx.Node)  # noqa: S101 - as torch.cond is declared
            module = owner.get_submodule(str(branch.target))
            assert isinstance(module, fx.GraphModule)  # noqa: S101 - as torch.cond is declared
            inner = Block()
            self._values.update(zip(module.graph.find_nodes(op="placeholder"), given, strict=True))
            results = self._parse_nodes(module.graph, module, inner)
            inner.outputs = [self._operand(result, inner) for result in results]
            parsed.blocks.append(inner)
        parsed.outputs = [self._leaf(parsed, value.type) for value in parsed.blocks[0].outputs]
        block.nodes.append(parsed)
        self._values[node] = tuple(parsed.outputs)

    # Values

    def _operand(self, argument: object, block: Block) -> Value:
        if isinstance(argument, fx.Node):
            value = self._values.get(argument)
            if not isinstance(value, Value):
                raise ModelError.unsupported(f"the program passes on all results of {argument.name} at once")
            return value
        if isinstance(argument, (list, tuple)) and any(isinstance(item, fx.Node) for item in argument):
            items = [self._operand(item, block) for item in argument]
            kind = "Tensor[]" if any(item.holds_tensor for item in items) else "int[]"
            return self._append(block, "prim::ListConstruct", None, items, [kind])[0]
        return self._constant(argument)

    def _constant(self, obj: object) -> Value:
        if isinstance(obj, torch.device):
            self._baked.devices.add(obj.type)
            return self._leaf(Device(), "Device")
        if self._is_half and obj in _HALF:
            obj = torch.float32
        if isinstance(obj, (list, tuple)):
            obj = list(obj)
        return self._leaf(Constant(obj), type(obj).__name__)

    def _container(self, tree: object, block: Block) -> Value:
        """The value of what forward returns: a tensor, or a container that the program builds."""
        if isinstance(tree, Value):
            return tree
        if isinstance(tree, dict):
            pairs = [(self._constant(key), self._container(item, block)) for key, item in tree.items()]
            inputs = [value for pair in pairs for value in pair]
            return self._build(block, "prim::DictConstruct", inputs, "Dict[str, {}]")
        if isinstance(tree, (list, tuple)):
            inputs = [self._container(item, block) for item in tree]
            return self._build(block, "prim::TupleConstruct", inputs, "Tuple[{}]")
        raise ModelError(
            ErrorCode.MODEL_NOT_CLASSIFIER,
            f"forward returns {type(tree).__name__}; return the logits of shape (N, K), alone or in a tuple "
            "or dictionary",
        )

    def _build(self, block: Block, name: str, inputs: list[Value], kind: str) -> Value:
        held = ", ".join(dict.fromkeys(value.type for value in inputs))
        return self._append(block, name, None, inputs, [kind.format(held)])[0]

    def _leaf(self, source: Leaf | Node, type_text: str) -> Value:
        self._count += 1
        return Value(self._count, type_text, source)
