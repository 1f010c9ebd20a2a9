"""Find the classifier head: the last weighted linear operation on the way to the logits.

Everything before it makes the latents, it and whatever follows make the logits. Nothing is guessed from layer
names: the search walks from the logits back through the operations that compute them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ladder_core.classifier.graph import Constant, Graph, Node, Value, dynamic_values
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class _LinearForm:
    """Which inputs of an operator are data, weight and bias, and which axis of the weight counts classes."""

    data: int
    weight: int
    bias: int | None
    class_axis: int


_LINEAR = _LinearForm(data=0, weight=1, bias=2, class_axis=0)
_PRODUCT = _LinearForm(data=0, weight=1, bias=None, class_axis=1)
_FORMS = {
    "aten::linear": _LINEAR,
    "aten::addmm": _LinearForm(data=1, weight=2, bias=0, class_axis=1),
    "aten::matmul": _PRODUCT,
    "aten::mm": _PRODUCT,
    "aten::_convolution": _LINEAR,
    "aten::_convolution_mode": _LINEAR,
    "aten::convolution": _LINEAR,
    "aten::conv1d": _LINEAR,
    "aten::conv2d": _LINEAR,
    "aten::conv3d": _LINEAR,
}
LAYERS = frozenset(_FORMS)
"""The weighted linear operations a head can be."""

_CONVOLUTIONS = frozenset(name for name in _FORMS if "conv" in name)


@dataclass(frozen=True, slots=True)
class Site:
    """One application of a weighted linear operation to latents.

    Attributes:
        node: The operation.
        data: The latents it is applied to.
        weight: Its weight: any function of the module's tensors alone.
        bias: Its bias, likewise; None if it has none.
        class_axis: The axis of ``weight`` that counts the outputs.
        bias_node: The addition that applies the bias, where the operation itself does not.
    """

    node: Node
    data: Value
    weight: Value
    bias: Value | None
    class_axis: int
    bias_node: Node | None = None

    @property
    def is_convolution(self) -> bool:
        """Whether the operation is a convolution."""
        return self.node.name in _CONVOLUTIONS

    @property
    def kind(self) -> str:
        """The operation in a user's words: ``linear``, ``addmm``, ``matmul+add``, ``conv2d``."""
        name = self.node.name.removeprefix("aten::").removeprefix("_")
        return f"{name}+add" if self.bias_node is not None else name


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a classifier.

    Attributes:
        sites: Where the latents become scores. More than one where branches of the program apply the same
            layer, or where several heads are combined.
        logits: What the head returns.
        is_affine: Whether the logits are one affine map of the latents, the same at every site.
    """

    sites: tuple[Site, ...]
    logits: Value
    is_affine: bool

    @property
    def kind(self) -> str:
        """The head in a user's words."""
        kinds = sorted({site.kind for site in self.sites})
        return "+".join(kinds) if self.is_affine else f"{'+'.join(kinds)} and more"


def find_head(graph: Graph, logits: Sequence[Value]) -> Head:
    """Find the head that computes ``logits``.

    Args:
        graph: The whole program.
        logits: The values the logits can have; several if branches compute them separately.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if no weighted linear operation leads to the logits, or if separate
            branches end in different heads.
    """
    dynamic = dynamic_values(graph)
    direct = [_affine_site(value, dynamic) for value in logits]
    affine = [site for site in direct if site is not None]
    keys = _ExpressionKeys()
    if affine and len(affine) == len(direct) and len({_layer_key(site, keys) for site in affine}) == 1:
        return Head(tuple(_unique(affine)), logits[0], is_affine=True)
    sites = _unique([site for value in logits for site in _reaching_sites(value, dynamic)])
    if not sites:
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            "no classifier head was found: the output does not come from a linear layer or convolution with "
            "weights of the model's own; end the model in torch.nn.Linear",
        )
    if len(logits) > 1:
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            f"branches of the program end in different heads ({', '.join(sorted(s.kind for s in sites))}); "
            "one head must serve every image",
        )
    return Head(tuple(sites), logits[0], is_affine=False)


def _affine_site(value: Value, dynamic: set[Value]) -> Site | None:
    """The site whose result ``value`` is, if it is one affine map of its data."""
    node = value.node
    if node is None:
        return None
    if node.name in ("aten::add", "aten::add_") and node.takes_tensors:
        return _site_with_added_bias(node, dynamic)
    site = _site(node, dynamic)
    if site is None or not _has_unit_factors(node):
        return None
    return site


def _site_with_added_bias(node: Node, dynamic: set[Value]) -> Site | None:
    if not _has_unit_factors(node):
        return None
    for product, bias in (node.inputs[:2], node.inputs[1::-1]):
        site = _site(product.node, dynamic) if product.node is not None else None
        if site is not None and site.bias is None and bias not in dynamic and bias.holds_tensor:
            return Site(site.node, site.data, site.weight, bias, site.class_axis, node)
    return None


def _has_unit_factors(node: Node) -> bool:
    """Whether ``alpha`` and ``beta`` (of add, addmm) are one."""
    if node.schema is None:
        return True
    arguments = zip(node.schema.arguments, node.inputs, strict=False)
    return all(value.constant == 1 for argument, value in arguments if argument.name in ("alpha", "beta"))


def _site(node: Node, dynamic: set[Value]) -> Site | None:
    form = _FORMS.get(node.name)
    if form is None:
        return None
    data, weight = node.inputs[form.data], node.inputs[form.weight]
    if weight in dynamic or data not in dynamic or not weight.holds_tensor:
        return None
    bias = node.inputs[form.bias] if form.bias is not None else None
    if bias is not None and bias.is_none:
        bias = None
    return Site(node, data, weight, bias, form.class_axis)


def _reaching_sites(value: Value, dynamic: set[Value]) -> list[Site]:
    """The last sites on every way from the images to ``value``."""
    sites: list[Site] = []
    seen: set[Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        node = current.node
        if node is None or current in seen or current not in dynamic:
            continue
        seen.add(current)
        site = _site(node, dynamic)
        if site is not None:
            sites.append(site)
        elif node.name == "prim::If":
            position = node.outputs.index(current)
            pending += [block.outputs[position] for block in node.blocks]
        elif node.name == "prim::Loop":
            position = node.outputs.index(current)
            pending += [node.blocks[0].outputs[position + 1], node.inputs[position + 2]]
        else:
            pending += [operand for operand in node.inputs if operand.holds_tensor]
    return sites


def _unique(sites: Sequence[Site]) -> list[Site]:
    return list({id(site.node): site for site in sites}.values())


def _layer_key(site: Site, keys: _ExpressionKeys) -> Hashable:
    bias = keys.of(site.bias) if site.bias is not None else None
    return (site.node.name, keys.of(site.weight), bias)


class _ExpressionKeys:
    """Numbers that are equal for values which compute the same function of the weights.

    Each value is numbered once, its operands first: a program may use one value any number of times, and its
    expressions may be as deep as the program is long.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[int, int] = {}

    def of(self, value: Value) -> int:
        """The number of a value."""
        waiting = [value]
        while waiting:
            current = waiting[-1]
            operands = () if self._is_leaf(current) or current.node is None else current.node.inputs
            missing = [operand for operand in operands if id(operand) not in self._known]
            waiting += missing
            if not missing:
                key = self._key(waiting.pop())
                self._known[id(current)] = self._numbers.setdefault(key, len(self._numbers))
        return self._known[id(value)]

    def _key(self, value: Value) -> Hashable:
        if isinstance(value.source, Constant):
            return repr(value.source)
        if value.node is None:
            return value.source
        operands = tuple(self._known[id(operand)] for operand in value.node.inputs)
        return (value.node.name, value.node.overload, operands)

    @staticmethod
    def _is_leaf(value: Value) -> bool:
        return isinstance(value.source, Constant)
