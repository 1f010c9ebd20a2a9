# ruff: noqa: SLF001 - the compilation unit has no public way in
"""How large a program becomes when every call is replaced by what it calls.

Forty functions that call each other twice take a page of text and 2^40 operators inlined. PyTorch inlines
before it runs a graph, and so do we before looking at one; so the size is computed first, from the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted

MAX_INLINED_NODES = 500_000
"""Some hundred times what the largest classifiers have."""


def check_inlined_size(functions: Sequence[torch.jit.ScriptFunction[Any, Any]]) -> None:
    """Check that no function becomes too large when its calls are inlined, without inlining any.

    Args:
        functions: Every function and method of a loaded file, uninlined.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the function, if it is larger than ``MAX_INLINED_NODES`` or calls
            itself.
    """
    graphs = {str(function.qualified_name): function.graph for function in functions}
    sizes: dict[str, int] = {}
    for name in graphs:
        _measure(name, graphs, sizes)


def _measure(start: str, graphs: dict[str, torch.Graph], sizes: dict[str, int]) -> None:
    """Post-order over the calls, with a stack of its own: chains of calls may be longer than Python's."""
    open_: set[str] = set()
    pending = [start]
    while pending:
        name = pending[-1]
        if name in sizes:
            pending.pop()
            continue
        nodes = list(_nodes(graphs[name]))
        callees = [callee for callee in map(_callee, nodes) if callee in graphs]
        if name not in open_:
            open_.add(name)
            if looping := next((callee for callee in callees if callee in open_), None):
                MODEL.unsafe(f"its function {quoted(looping)} calls itself, which no classifier needs")
            pending.extend(callees)
            continue
        sizes[name] = len(nodes) + sum(sizes[callee] for callee in callees)
        open_.discard(name)
        pending.pop()
        if sizes[name] > MAX_INLINED_NODES:
            MODEL.unsafe(
                f"its function {quoted(name)} takes more than {MAX_INLINED_NODES} operators with the "
                "functions it calls; call fewer functions from each, or trace the model instead"
            )


def _nodes(graph: torch.Graph) -> Iterator[torch.Node]:
    blocks: list[torch.Graph | torch.Block] = [graph]
    while blocks:
        for node in blocks.pop().nodes():
            yield node
            blocks.extend(node.blocks())


def _callee(node: torch.Node) -> str | None:
    """The qualified name of what a node calls."""
    if node.kind() == "prim::CallFunction":
        return str(node.inputsAt(0).type().annotation_str)
    if node.kind() == "prim::CallMethod":
        kind = node.inputsAt(0).type()
        if isinstance(kind, torch._C.ClassType):
            return f"{kind.qualified_name()}.{node.s('name')}"
    return None
