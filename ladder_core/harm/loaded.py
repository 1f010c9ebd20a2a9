# ruff: noqa: SLF001 - methods that are not called forward, and hooks, have no public way in
"""The third wall: what PyTorch made of the program, checked in the process that may do no harm."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import torch

from ladder_core.harm.allowed import ALLOWED_IR
from ladder_core.harm.inlining import check_inlined_size
from ladder_core.harm.limits import MODEL
from ladder_core.harm.objects import check_objects
from ladder_core.text import quoted


def load_checked_script(
    path: Path, extra_files: MutableMapping[str, str | bytes] | None = None
) -> torch.jit.ScriptModule:
    """Do what ``torch.jit.load`` does, onto the CPU, and check what came of it before any of it runs.

    Args:
        path: A file that ``check_model`` has passed.
        extra_files: As for ``torch.jit.load``.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the function or the operator, the method and the line, or the
            submodule that is not what it is declared to be.
        Exception: Whatever PyTorch raises on a file it cannot read.
    """
    unit = torch._C.CompilationUnit()
    extra: Any = {} if extra_files is None else extra_files
    cpu: Any = torch.device("cpu")
    # PyTorch's stubs of these two are behind its code.
    module = torch._C.import_ir_module(unit, str(path), cpu, extra, False)  # type: ignore[call-arg]
    functions: Any = unit.get_functions()  # type: ignore[func-returns-value]
    check_inlined_size(functions)
    check_objects(module)
    script: torch.jit.ScriptModule = torch.jit._recursive.wrap_cpp_module(module)  # type: ignore[no-untyped-call]
    check_script(script)
    return script


def check_script(script: torch.jit.ScriptModule) -> None:
    """Check the graph of every method of every submodule, before any of them runs.

    The text was checked already; this asks the same of the compiled program, and so does not depend on having
    read the text as PyTorch reads it.

    Args:
        script: As ``torch.jit.load`` returned it.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the operator, the method and the line of the program.
    """
    seen: set[str] = set()
    for path, module in script.named_modules():
        compiled = module._c
        kind = compiled._type().qualified_name()
        if kind in seen:
            continue
        seen.add(kind)
        for name in compiled._method_names():
            where = f"{path}.{name}" if path else name
            _check_graph(compiled._get_method(name).inlined_graph, where)
        for hook in [*compiled._get_forward_hooks(), *compiled._get_forward_pre_hooks()]:
            _check_graph(hook.inlined_graph, f"{path}.{hook.name}")


def _check_graph(graph: torch.Graph, where: str) -> None:
    blocks: list[torch.Graph | torch.Block] = [graph]
    while blocks:
        for node in blocks.pop().nodes():
            if node.kind() not in ALLOWED_IR:
                MODEL.unsafe(
                    f"its method {quoted(where)} holds {node.kind()}, an operator that is not on the list"
                    f"{_line_of(node)}"
                )
            # What is called but could not be inlined was never looked at.
            if node.kind() in ("prim::CallMethod", "prim::CallFunction"):
                MODEL.unsafe(f"its method {quoted(where)} calls what cannot be looked into{_line_of(node)}")
            blocks.extend(node.blocks())


def _line_of(node: torch.Node) -> str:
    """Where the program says it, in brackets, as far as the file tells."""
    lines = [line.strip() for line in str(node.sourceRange()).splitlines() if line.strip()]
    return f" ({quoted(lines[0])})" if lines else ""
