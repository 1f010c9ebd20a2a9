"""What the files of a program define: the only names, besides the language's own, that it may use."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from ladder_core.harm.allowed import is_allowed


@dataclass(frozen=True)
class Definitions:
    """Names defined in an archive.

    Attributes:
        qualified: Classes and functions, as ``__torch__.package.module.Name``.
        members: Attributes and methods of all classes.
    """

    qualified: frozenset[str]
    members: frozenset[str]


def collect_definitions(trees: Mapping[str, ast.Module]) -> Definitions:
    """Find what a program defines.

    Args:
        trees: Its files, by their path below ``code/``.
    """
    qualified: set[str] = set()
    members: set[str] = set()
    for file, tree in trees.items():
        package = file.removesuffix(".py").replace("/", ".")
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                qualified.add(f"{package}.{node.name}")
            if isinstance(node, ast.ClassDef):
                members.update(name for statement in node.body for name in _declared(statement))
    return Definitions(frozenset(qualified), frozenset(members))


def _declared(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
        case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(name)))]):
            return [name]
    return []


@cache
def forbidden_tensor_methods() -> frozenset[str]:
    """Names that mean an operator off the list when they follow a tensor and a dot."""
    names = set()
    for schema in torch._C._jit_get_all_schemas():  # noqa: SLF001 - the registry has no public face
        arguments = schema.arguments
        takes_tensor = arguments and arguments[0].name == "self" and str(arguments[0].type) == "Tensor"
        if takes_tensor and not is_allowed(schema.name):
            names.add(schema.name.partition("::")[2])
    return frozenset(name for name in names if not is_allowed(f"aten::{name}"))
