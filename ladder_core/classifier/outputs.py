"""What forward returns, and where in the program the logits behind it are.

Files return logits, log-probabilities or probabilities, alone or inside a tuple or a dictionary. Walking back
from the output over those last operations finds the logits themselves, so they are recovered exactly: not by
taking logarithms of rounded probabilities, but by not applying the softmax in the first place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

from ladder_core.classifier.graph import Graph, Node, Training, Value, walk
from ladder_core.classifier.selection import choose_scores
from ladder_core.errors import ModelError
from ladder_schema.errors import ErrorCode


class OutputForm(StrEnum):
    """The scale of the scores a file returns."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log_probabilities"
    PROBABILITIES = "probabilities"
    BINARY_PROBABILITY = "binary_probability"
    """One number per image: the probability of class 1 of two."""
    BINARY_LOGIT = "binary_logit"
    """One unbounded number per image: the logit of class 1 of two, positive where it is the answer."""

    @property
    def is_binary(self) -> bool:
        """Whether the file returns one number per image, of which the classifier makes two logits."""
        return self in (OutputForm.BINARY_PROBABILITY, OutputForm.BINARY_LOGIT)


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How to read the value that the uploaded forward returns.

    Attributes:
        form: The scale of the scores.
        key: The position (tuple or list) or name (dictionary) of the scores; None if forward returns a
            tensor.
    """

    form: OutputForm
    key: int | str | None

    def scores(self, output: object) -> Tensor:
        """Select the scores from what the uploaded forward returned."""
        selected = output if self.key is None else output[self.key]  # type: ignore[index]
        if not isinstance(selected, Tensor):
            raise ModelError(
                ErrorCode.MODEL_NOT_CLASSIFIER,
                f"forward returned {type(selected).__name__} where a tensor of class scores was expected",
            )
        return selected

    def from_logits(self, logits: Tensor) -> Tensor:
        """The scores that belong to ``logits`` (N, K), in the file's own scale."""
        if self.form is OutputForm.LOG_PROBABILITIES:
            return torch.log_softmax(logits, 1)
        if self.form is OutputForm.PROBABILITIES:
            return torch.softmax(logits, 1)
        if self.form is OutputForm.BINARY_PROBABILITY:
            return torch.sigmoid(logits[:, 1:] - logits[:, :1])
        if self.form is OutputForm.BINARY_LOGIT:
            return logits[:, 1:] - logits[:, :1]
        return logits

    def of(self, scores: int) -> OutputSpec:
        """The same, once the number of scores per image is known: one unbounded score is a binary logit."""
        is_one = scores == 1 and self.form is OutputForm.LOGITS
        return replace(self, form=OutputForm.BINARY_LOGIT) if is_one else self


@dataclass(frozen=True, slots=True)
class Tail:
    """One place the output can come from: the logits, and what is applied to them."""

    form: OutputForm
    logits: Value
    in_training_only: bool


_SHAPE_OPERATORS = frozenset(
    {
        "aten::_to_copy",
        "aten::_unsafe_view",
        "aten::alias",
        "aten::clone",
        "aten::contiguous",
        "aten::flatten",
        "aten::reshape",
        "aten::squeeze",
        "aten::to",
        "aten::view",
    }
)
"""Operators that leave (N, K) scores as they are, change their precision, or drop axes of length one."""

_SOFTMAX = frozenset({"aten::_softmax", "aten::softmax"})
_PROBABILITIES = _SOFTMAX | {"aten::sigmoid", "aten::sigmoid_"}
_CLAMPS = frozenset({"aten::clamp", "aten::clamp_", "aten::clamp_min", "aten::clamp_max", "aten::clip"})
"""Operators that keep probabilities away from 0 and 1; the logits behind need no such care."""

_FORMS = {
    "aten::_log_softmax": OutputForm.LOG_PROBABILITIES,
    "aten::_softmax": OutputForm.PROBABILITIES,
    "aten::log_softmax": OutputForm.LOG_PROBABILITIES,
    "aten::softmax": OutputForm.PROBABILITIES,
    "aten::sigmoid": OutputForm.BINARY_PROBABILITY,
    "aten::sigmoid_": OutputForm.BINARY_PROBABILITY,
}


def find_tails(graph: Graph) -> tuple[int | str | None, list[Tail]]:
    """Find the class scores among what forward returns, and the logits behind them.

    Returns:
        The key of the scores in the returned tuple or dictionary (None for a plain tensor), and the logits:
        several if branches of the program compute them separately.

    Raises:
        ModelError: ``MODEL_NOT_CLASSIFIER`` if nothing forward returns is a tensor, or if a softmax mixes the
            images of a batch.
    """
    returned = [(value, training, _members(value, graph)) for value, training in _alternatives(graph.output)]
    if all(members is None for _, _, members in returned) and graph.output.holds_tensor:
        return None, list(_tails(graph.output, OutputForm.LOGITS, in_training_only=False))
    containers = [(members, training) for _, training, members in returned if members]
    shared = [
        key
        for key in (containers[0][0] if containers else {})
        if all(key in members and members[key].holds_tensor for members, _ in containers)
    ]
    if not shared:
        raise ModelError(
            ErrorCode.MODEL_NOT_CLASSIFIER,
            f"forward returns {graph.output.type}, which holds no tensor of class scores; "
            "return the logits of shape (N, K), alone or in a tuple or dictionary",
        )
    key = choose_scores(containers[0][0], shared)
    tails = (
        _tails(members[key], OutputForm.LOGITS, in_training_only=training) for members, training in containers
    )
    return key, [tail for found in tails for tail in found]


def _tails(value: Value, form: OutputForm, *, in_training_only: bool) -> Iterator[Tail]:
    """Yield what a result ends in, each place once: branches may share what comes before them."""
    waiting, seen = [(value, form, in_training_only)], set[tuple[int, OutputForm, bool]]()
    while waiting:
        value, form, training = waiting.pop()
        if (id(value), form, training) in seen:
            continue
        seen.add((id(value), form, training))
        steps = list(_steps_back(value, form, training))
        waiting += reversed(steps)
        is_nothing = value.is_none if value.node is None else value.node.name == "prim::Uninitialized"
        if not steps and not is_nothing:
            yield Tail(form, value, training)


def _steps_back(value: Value, form: OutputForm, training: bool) -> Iterator[tuple[Value, OutputForm, bool]]:
    """Yield what a value is a form of; nothing where it is the scores themselves."""
    node = value.node
    if node is None:
        return
    if node.name == "prim::If":
        position = node.outputs.index(value)
        for block, training_branch in zip(node.blocks, _training_branches(node), strict=True):
            yield block.outputs[position], form, training or training_branch
    elif node.name in _SHAPE_OPERATORS:
        yield node.inputs[0], form, training
    elif node.name in _FORMS and form is OutputForm.LOGITS:
        _check_axis(node.name, node.inputs[1:2])
        yield node.inputs[0], _FORMS[node.name], training
    elif node.name in _CLAMPS and _probabilities(node.inputs[0], _PROBABILITIES) is not None:
        yield node.inputs[0], form, training
    elif node.name in ("aten::log", "aten::log_") and (softmax := _probabilities(node.inputs[0], _SOFTMAX)):
        _check_axis(softmax.name, softmax.inputs[1:2])
        yield softmax.inputs[0], OutputForm.LOG_PROBABILITIES, training


def _probabilities(value: Value, operators: frozenset[str]) -> Node | None:
    """The one of ``operators`` that computes ``value``, looking behind clamps; None if there is none."""
    node = value.node
    while node is not None and node.name in _CLAMPS:
        node = node.inputs[0].node
    return node if node is not None and node.name in operators else None


def _check_axis(name: str, axis: list[Value]) -> None:
    if "softmax" in name and axis[0].is_constant and axis[0].constant not in (1, -1):
        raise ModelError(
            ErrorCode.MODEL_NOT_CLASSIFIER,
            f"forward ends in {name.removeprefix('aten::')} over axis {axis[0].constant}, which mixes the "
            "images of a batch; scores of shape (N, K) need it over axis 1",
        )


def _alternatives(value: Value, *, in_training_only: bool = False) -> Iterator[tuple[Value, bool]]:
    """The values that ``value`` can have, one for each branch it may come from; whether only in training."""
    node = value.node
    if node is not None and node.name == "prim::If":
        position = node.outputs.index(value)
        for block, training in zip(node.blocks, _training_branches(node), strict=True):
            yield from _alternatives(block.outputs[position], in_training_only=in_training_only or training)
    elif not value.is_none and (node is None or node.name != "prim::Uninitialized"):
        yield value, in_training_only


def _training_branches(node: Node) -> tuple[bool, bool]:
    """For both branches of ``prim::If``, whether only training takes them."""
    return isinstance(node.inputs[0].source, Training), False


def _members(value: Value, graph: Graph) -> dict[int | str, Value] | None:
    """The items of a tuple, list or dictionary the program builds; None if the value is no container."""
    node = value.node
    if node is None:
        return None
    if node.name in ("prim::TupleConstruct", "prim::ListConstruct"):
        return dict(enumerate(node.inputs))
    if node.name == "prim::DictConstruct":
        pairs = list(zip(node.inputs[::2], node.inputs[1::2], strict=True))
        pairs += [
            (setter.inputs[1], setter.inputs[2])
            for setter in walk(graph.block)
            if setter.name == "aten::_set_item" and setter.inputs[0] is value
        ]
        return {key.constant: item for key, item in pairs if isinstance(key.constant, (str, int))}
    return None
