# ruff: noqa: SLF001 - a compiled module's types have no public way in
"""The objects of a loaded TorchScript file are of the classes that its program declares.

PyTorch fills a module's attributes with whatever the pickle holds, and the compiled program then reads an
attribute of an attribute by its place. Where the pickle holds an object of another class, with fewer
attributes, that place is memory behind the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ladder_core.errors import ModelError
from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted

MAX_MODULES = 100_000
"""Some hundred times what the largest classifiers have; a module that two others share counts twice."""
_OF_CLASSES = frozenset({"ClassType", "InterfaceType"})


def check_objects(module: torch._C.ScriptModule) -> None:
    """Check every submodule's class against what the class of its parent declares.

    Args:
        module: As PyTorch read it, before it was wrapped or run.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the submodule and both classes, or if there are more than
            ``MAX_MODULES``; ``MODEL_UNSUPPORTED`` for attributes that hold objects other than modules.
    """
    waiting: list[tuple[str, torch._C.ScriptModule]] = [("", module)]
    count = 0
    while waiting:
        path, parent = waiting.pop()
        declared = list(_classes_declared(parent, path))
        children: list[tuple[str, Any]] = torch._C.ModuleDict(parent).items()
        if len(children) != len(declared):
            _unsupported(path)
        count += len(children)
        if count > MAX_MODULES:
            MODEL.unsafe(
                f"it has more than {MAX_MODULES} submodules, those that are shared counted each time"
            )
        for (name, child), expected in zip(children, declared, strict=True):
            where = f"{path}.{name}" if path else name
            found = child._type().qualified_name()
            if found != expected:
                MODEL.unsafe(
                    f"its submodule {quoted(where)} is a {quoted(found)}, declared as {quoted(expected)}"
                )
            waiting.append((where, child))


def _classes_declared(module: torch._C.ScriptModule, path: str) -> Iterator[str]:
    """The class of each attribute that is an object, in the order of the attributes."""
    kind: Any = module._type()
    for attribute in kind.containedTypes():
        if attribute.kind() == "ClassType":
            yield attribute.qualified_name()
        elif _holds_objects(attribute):
            _unsupported(path)


def _holds_objects(kind: torch._C.JitType) -> bool:
    contained: Callable[[], list[torch._C.JitType]] = kind.containedTypes  # type: ignore[attr-defined]
    return kind.kind() in _OF_CLASSES or any(map(_holds_objects, contained()))


def _unsupported(path: str) -> None:
    raise ModelError.unsupported(
        f"the module {quoted(path or 'itself')} has an attribute that holds one or several objects of a "
        "class that is no submodule; keep tensors, numbers and submodules in attributes, and trace the model"
    )
