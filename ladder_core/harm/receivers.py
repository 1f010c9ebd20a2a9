"""Of which class of the archive an expression of a TorchScript program is an instance.

``x.diff`` is an operator where ``x`` is a tensor, and the user's own layer where ``x`` is a module that
declares a ``diff``: PyTorch looks for a class's members before it looks for operators. So a name that is also
an operator's may be read from a receiver that is known, by the text alone, to be an instance of a class that
declares it. Known are a method's first argument, what a known class declares to be an instance of a class,
and a local name that is assigned once, from either.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping

from ladder_core.harm.definitions import Definitions


class Receivers:
    """The expressions of one function whose class is known.

    Args:
        definitions: What the archive defines.
        owner: The class whose method the function is, as ``__torch__.package.Name``; None for a function.
        function: The function; None for the body of a class, where nothing is known.
    """

    def __init__(
        self, definitions: Definitions, owner: str | None = None, function: ast.FunctionDef | None = None
    ) -> None:
        self._definitions = definitions
        self._classes: dict[str, str | None] = {}
        self._assigned: Mapping[str, ast.expr] = {}
        if function is not None:
            arguments = [argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]]
            bound = Counter([*_stored(function), *arguments])
            self._assigned = _assigned_once(function, bound)
            # Bound again, by an assignment or as another argument, it is whatever that is.
            if owner is not None and arguments and bound[arguments[0]] == 1:
                self._classes[arguments[0]] = owner

    def declares(self, receiver: ast.expr, name: str) -> bool:
        """Whether a receiver is an instance of a class that declares an attribute or method of this name."""
        owner = self._class_of(receiver)
        return owner is not None and name in self._definitions.fields.get(owner, {})

    def _class_of(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                return self._class_of_name(name)
            case (
                ast.Attribute(value=value, attr=name)
                | ast.Call(
                    func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name))], keywords=[]
                )
            ):
                owner = self._class_of(value)
                return None if owner is None else self._definitions.fields.get(owner, {}).get(name)
        return None

    def _class_of_name(self, name: str) -> str | None:
        if name not in self._classes:
            self._classes[name] = None  # A name assigned from itself is of no known class.
            value = self._assigned.get(name)
            self._classes[name] = None if value is None else self._class_of(value)
        return self._classes[name]


def _stored(function: ast.FunctionDef) -> list[str]:
    return [
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]


def _assigned_once(function: ast.FunctionDef, bound: Mapping[str, int]) -> dict[str, ast.expr]:
    """What each local name stands for, where it is bound once and by a plain assignment."""
    return {
        node.targets[0].id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and bound[node.targets[0].id] == 1
    }
