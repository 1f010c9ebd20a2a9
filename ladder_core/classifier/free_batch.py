"""Free a program that was exported for one fixed number of images, so that it takes any number.

``torch.export.export`` without ``dynamic_shapes`` writes the number of images into the program wherever a
tensor is reshaped or expanded: ``view(x, [1, 512])``. Most exported files are such, and for a single image at
that; batch norm cannot be trained one image at a time.

The program is run on shapes alone, with more images than it was exported for. Every size that stands in their
way is found and left open (``-1``, or the number of images). Which of several sizes counts the images can be
ambiguous (``[1, 1, 512]``): the likeliest is tried first, and where the program cannot go on, the next. The
freed program must then say of real images what the fixed one says.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

_ATEN = torch.ops.aten
_RESHAPES = (_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default)  # noqa: SLF001 - a name
_EXPANSIONS = (_ATEN.expand.default, _ATEN.repeat.default)
_FACTORIES = (_ATEN.zeros.default, _ATEN.ones.default, _ATEN.full.default, _ATEN.empty.memory_format)
_LIKE = (_ATEN.new_zeros.default, _ATEN.new_ones.default, _ATEN.new_full.default, _ATEN.new_empty.default)
_SIZE_POSITIONS: dict[Any, int] = {
    **dict.fromkeys([*_RESHAPES, *_EXPANSIONS, *_LIKE], 1),
    **dict.fromkeys(_FACTORIES, 0),
}
_FACTOR = 7
"""The shapes are run with this many times the images; a number that layer sizes seldom are multiples of."""
_STEPS_PER_NODE = 20


@dataclass(frozen=True, slots=True)
class _Choice:
    """How to run one node.

    Attributes:
        sizes: The sizes to reshape or expand to, None for the number of images; None to leave the node as it
            is.
        inner: By how much the axis that counts images is longer than their number, where each image has
            several consecutive entries on it.
    """

    sizes: tuple[int | None, ...] | None = None
    inner: int | None = None


class CannotFree(Exception):  # noqa: N818 - an answer, not an error
    """The program means its one number of images."""


def free_batch(graph: fx.Graph, images: fx.Node, size: int) -> fx.Graph:
    """Copy a graph so that it takes any number of images.

    Args:
        graph: The graph of an exported program, every node with the value it had (``meta["val"]``).
        images: The node that stands for the images.
        size: The number of images it was exported for.

    Raises:
        CannotFree: If that number is more than a size to reshape to.
    """
    choices = _Search(graph, images, size).choices()
    nodes = [(node, choices.get(node, _Choice())) for node in graph.nodes]
    freed = copy.deepcopy(graph)
    twins = list(freed.nodes)
    count = None
    for twin, (node, choice) in zip(twins, nodes, strict=True):
        if node is images:
            with freed.inserting_after(twins[_last_placeholder(twins)]):
                count = freed.call_function(_ATEN.sym_size.int, (twin, 0))
        if choice.sizes is not None:
            position = _SIZE_POSITIONS[node.target]
            sizes = [count if length is None else length for length in choice.sizes]
            twin.update_arg(position, sizes)
            twin.target = _open_target(node)
    return freed


def _open_target(node: fx.Node) -> Any:  # noqa: ANN401 - as torch.fx types it
    """What a node calls once its sizes are open: a view of one image can be a copy of several."""
    return _ATEN.reshape.default if node.target in _RESHAPES else node.target


def _last_placeholder(nodes: Sequence[fx.Node]) -> int:
    return max(position for position, node in enumerate(nodes) if node.op == "placeholder")


class _Search:
    """A run of the program on shapes, which goes back to the last open choice where it cannot go on."""

    def __init__(self, graph: fx.Graph, images: fx.Node, size: int) -> None:
        self._size = size
        self._images = images
        self._nodes = [
            node for node in graph.nodes if node.op == "output" or (node.users and node.op != "placeholder")
        ]
        self._values: dict[fx.Node, Any] = {}
        self._inner: dict[fx.Node, int] = {images: 1}
        self._taken: dict[fx.Node, _Choice] = {}
        for node in graph.find_nodes(op="placeholder"):
            self._values[node] = _on_meta(node.meta.get("val"), _FACTOR if node is images else 1)

    def choices(self) -> dict[fx.Node, _Choice]:
        """What to change, by node.

        Raises:
            CannotFree: If no choices let the program run.
        """
        position, open_choices = 0, []
        alternatives = self._alternatives(self._nodes[0])
        for _ in range(_STEPS_PER_NODE * len(self._nodes)):
            choice, *others = alternatives
            if self._runs(self._nodes[position], choice):
                self._taken[self._nodes[position]] = choice
                if others:
                    open_choices.append((position, others))
                position += 1
                if position == len(self._nodes):
                    return self._taken
                alternatives = self._alternatives(self._nodes[position])
            elif others:
                alternatives = others
            elif open_choices:
                position, alternatives = open_choices.pop()
            else:
                break
        raise CannotFree

    def _runs(self, node: fx.Node, choice: _Choice) -> bool:
        """Run one node; whether it could, and its result is as before but for the number of images."""
        try:
            if node.op == "output":
                return self._returns_images(node)
            value = self._values[node] = self._run(node, choice)
            axis = self._axis(node)
        except (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError):
            return False
        self._inner.pop(node, None)
        if choice.inner is not None:
            self._inner[node] = choice.inner
        elif (source := self._source(node)) and (axis is not None or not isinstance(value, Tensor)):
            self._inner[node] = self._inner[source]
        return True

    def _run(self, node: fx.Node, choice: _Choice) -> object:
        if not callable(node.target):
            raise TypeError
        target = node.target
        arguments, options = fx.map_arg((node.args, dict(node.kwargs)), lambda item: self._values[item])
        if choice.sizes is not None:
            position = _SIZE_POSITIONS[node.target]
            count = _FACTOR * self._size
            sizes = [count if length is None else length for length in choice.sizes]
            arguments = (*arguments[:position], sizes, *arguments[position + 1 :])
            target = _open_target(node)
        if "device" in options:
            options["device"] = "meta"
        return target(*arguments, **options)

    def _returns_images(self, node: fx.Node) -> bool:
        results = [item for item in node.all_input_nodes if item in self._inner]
        return bool(results) and all(self._axis(item) == 0 and self._inner[item] == 1 for item in results)

    def _source(self, node: fx.Node) -> fx.Node | None:
        """The first operand that holds images."""
        return next((item for item in node.all_input_nodes if item in self._inner), None)

    def _axis(self, node: fx.Node) -> int | None:
        """The axis of a tensor that counts images; None if it holds none, or is no tensor.

        Raises:
            ValueError: If the shape differs otherwise than on one axis.
        """
        value, exported = self._values[node], node.meta.get("val")
        if not isinstance(value, Tensor) or not isinstance(exported, Tensor):
            return None
        pairs = list(zip(exported.shape, value.shape, strict=True))
        changed = [axis for axis, (before, after) in enumerate(pairs) if before != after]
        if not changed:
            return None
        (axis,) = changed
        if pairs[axis][1] != pairs[axis][0] * _FACTOR:
            raise ValueError
        return axis

    # Alternatives

    def _alternatives(self, node: fx.Node) -> list[_Choice]:
        """The ways to run a node, the likeliest first."""
        source = self._source(node)
        if node.target in _RESHAPES and source is not None:
            return self._reshapes(node, source)
        if node.target in _EXPANSIONS and source is not None:
            return self._expansions(node, source)
        if node.target in _SIZE_POSITIONS and node.target not in _RESHAPES:
            sizes = node.args[_SIZE_POSITIONS[node.target]]
            if isinstance(sizes, (list, tuple)) and sizes and sizes[0] == self._size:
                return [_Choice((None, *_fixed(sizes[1:])), inner=1), _Choice()]
        return [_Choice()]

    def _reshapes(self, node: fx.Node, source: fx.Node) -> list[_Choice]:
        axis = self._axis(source)
        assert axis is not None  # noqa: S101 - the source holds images
        before, shape = source.meta["val"].shape, node.meta["val"].shape
        # How far apart the first entries of neighbouring images are; the same before and after.
        stride = self._inner[source] * math.prod(before[axis + 1 :])
        ranked = []
        for position, length in enumerate(shape):
            after = math.prod(shape[position + 1 :])
            if stride % after or stride * self._size > after * length:
                continue
            inner = stride // after
            rank = 0 if length == self._size else 1 if length == inner * self._size else 2
            sizes = tuple(-1 if other == position else n for other, n in enumerate(shape))
            ranked.append((rank, position, _Choice(sizes, inner)))
        return [choice for _, _, choice in sorted(ranked, key=lambda item: item[:2])] or [_Choice()]

    def _expansions(self, node: fx.Node, source: fx.Node) -> list[_Choice]:
        axis, sizes = self._axis(source), node.args[1]
        assert axis is not None  # noqa: S101 - the source holds images
        if node.target is _ATEN.repeat.default or not isinstance(sizes, (list, tuple)):
            return [_Choice()]
        position = axis + len(sizes) - len(source.meta["val"].shape)
        return [_Choice((*_fixed(sizes[:position]), -1, *_fixed(sizes[position + 1 :])))]


def _fixed(sizes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(length) for length in sizes)


def _on_meta(value: object, factor: int) -> object:
    """A tensor's shape and type without its data, its first axis ``factor`` times as long."""

    def convert(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        if factor > 1:
            shape[0] *= factor
        return torch.empty(shape, dtype=tensor.dtype, device="meta")

    return pytree.tree_map_only(Tensor, convert, value)
