"""What the files of a program define: the only names, besides the language's own, that it may use."""

from __future__ import annotations

import ast
from collections import Counter
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
        fields: The same by module class, and for each name the class it is an instance of, as far as the
            archive's own go. Left out is what is defined or declared twice.
    """

    qualified: frozenset[str]
    members: frozenset[str]
    fields: Mapping[str, Mapping[str, str | None]]


def package_of(file: str) -> str:
    """The package whose names a program file defines, as ``__torch__.package``."""
    return file.removesuffix(".py").replace("/", ".")


def collect_definitions(trees: Mapping[str, ast.Module]) -> Definitions:
    """Find what a program defines.

    Args:
        trees: Its files, by their path below ``code/``.
    """
    qualified: set[str] = set()
    members: set[str] = set()
    fields: dict[str, dict[str, str | None]] = {}
    for file, tree in trees.items():
        package = package_of(file)
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            name = f"{package}.{node.name}"
            if isinstance(node, ast.ClassDef):
                members.update(name for statement in node.body for name in _declared(statement))
                fields[name] = {} if name in qualified else _fields(node)
            qualified.add(name)
    return Definitions(frozenset(qualified), frozenset(members), fields)


def _fields(node: ast.ClassDef) -> dict[str, str | None]:
    """What a module class declares, once, and the class each of it is an instance of."""
    if not any(isinstance(base, ast.Name) and base.id == "Module" for base in node.bases):
        return {}
    counts = Counter(name for statement in node.body for name in _declared(statement))
    return {
        name: _class_named(statement)
        for statement in node.body
        for name in _declared(statement)
        if counts[name] == 1
    }


def _class_named(node: ast.stmt) -> str | None:
    """The class that a declaration gives its name, or None."""
    match node:
        case ast.AnnAssign(annotation=ast.Attribute() as kind) | ast.Assign(value=ast.Attribute() as kind):
            return dotted_name(kind)
    return None


def _declared(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
        case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(name)))]):
            return [name]
    return []


def dotted_name(node: ast.expr) -> str | None:
    """``a.b.c`` as text, or None if the expression is anything else than names and dots."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


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
