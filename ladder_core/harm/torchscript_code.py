"""The second wall: the text of a TorchScript program, read before PyTorch sees it.

``torch.jit.load`` compiles the text, and runs a class's ``__setstate__`` and a function's default values
while it does. Here the text is parsed and every statement, expression, name and type is looked at; whatever
is not known to be what PyTorch itself prints for a classifier is refused, with the file and the line.

The rules that keep an operator from hiding:

* ``torch`` and ``ops`` occur only as ``torch.name(...)`` and ``ops.namespace.name(...)``, never as values, so
  no operator gets a second name; the operator must be on the list.
* ``__torch__.a.b`` must be defined in the archive, which may not define anything at the names of PyTorch's
  own classes (``__torch__.torch.classes``): these are out of reach.
* an attribute or method must be declared in the archive, and its name must not be that of a tensor's method
  off the list, except where what it is taken from is known to be an instance of a class that declares it;
  ``getattr`` takes its name literally.
* every other function is one of a dozen of the language, or a local name bound to a function of the archive.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from ladder_core.errors import ModelError
from ladder_core.harm.definitions import Definitions, collect_definitions, package_of
from ladder_core.harm.expressions import Scope
from ladder_core.harm.limits import MODEL
from ladder_core.harm.receivers import Receivers
from ladder_core.harm.source_text import MAX_PROGRAM_BYTES, parse_source
from ladder_core.text import quoted
from ladder_schema.errors import ErrorCode

_RUN_WHILE_LOADING = ("__setstate__", "__getstate__")
_METHODS = frozenset(
    f"__{name}__"
    for name in [
        "init",
        "new",
        "call",
        "enter",
        "exit",
        "len",
        "contains",
        "getitem",
        "setitem",
        "iter",
        "next",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "add",
        "sub",
        "mul",
        "truediv",
        "neg",
        "abs",
        "int",
        "float",
        "bool",
        "str",
        "hash",
    ]
)
_BASES = frozenset({"Module", "NamedTuple", "Enum", "Interface", "ModuleInterface"})
_QUANTIZED = tuple(
    f"__torch__.torch.{package}.quantized." for package in ("ao.nn", "ao.nn.intrinsic", "nn", "nn.intrinsic")
)
# These are found before the archive's, whatever it defines.
_CLASSES_OF_PYTORCH = "__torch__.torch.classes."
_NAME_LISTS = frozenset(
    {"__parameters__", "__buffers__", "__constants__", "__forward_hooks__", "__forward_pre_hooks__"}
)


def check_program(files: Mapping[str, bytes]) -> frozenset[str]:
    """Check the text of a program.

    Args:
        files: The archive's program files, by their path below ``code/``.

    Returns:
        The qualified names of the classes and functions it defines.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the operator or construct, the file and the line.
    """
    size = sum(map(len, files.values()))
    if size > MAX_PROGRAM_BYTES:
        MODEL.unsafe(f"its program text takes {size} bytes; {MAX_PROGRAM_BYTES} are allowed")
    trees = {file: parse_source(text, file) for file, text in files.items()}
    try:
        definitions = collect_definitions(trees)
        _name_quantized(definitions)
        for file, tree in trees.items():
            _File(file, definitions).check(tree)
    except RecursionError:
        MODEL.unsafe("its program text is nested too deeply")
    return definitions.qualified


def _name_quantized(definitions: Definitions) -> None:
    """Refuse a quantised model for what it is: an honest file, whose packed weights no check could look into.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED``.
    """
    if any(name.startswith(_QUANTIZED) for name in definitions.qualified):
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            "the model is quantized (torch.ao.nn.quantized), and quantized weights cannot be trained; upload "
            "the floating-point model it was made from, and quantize the hardened one",
        )


class _File:
    """The checks of one file; each method takes the nodes of its kind and refuses all others."""

    def __init__(self, file: str, definitions: Definitions) -> None:
        self._file = file
        self._definitions = definitions

    def check(self, tree: ast.Module) -> None:
        for node in tree.body:
            match node:
                case ast.ClassDef():
                    self._class(node)
                case ast.FunctionDef():
                    self._function(node)
                case _:
                    self._scope().refuse(node, "a statement outside of classes and functions")

    def _scope(self) -> Scope:
        return Scope(self._file, self._definitions, frozenset(), Receivers(self._definitions))

    def _class(self, node: ast.ClassDef) -> None:
        scope = self._scope()
        scope.check_binding(node, node.name)
        if node.decorator_list or node.keywords or len(node.bases) > 1:
            scope.refuse(node, f"the class {quoted(node.name)} with decorators or several bases")
        for base in node.bases:
            if not isinstance(base, ast.Name) or base.id not in _BASES:
                scope.refuse(base, f"the class {quoted(node.name)} with a base that is not PyTorch's")
        owner = f"{package_of(self._file)}.{node.name}"
        if owner.startswith(_CLASSES_OF_PYTORCH):
            scope.refuse(node, f"{quoted(owner)}, a name at which PyTorch has classes of its own")
        for statement in node.body:
            self._class_statement(statement, scope, owner)

    def _class_statement(self, node: ast.stmt, scope: Scope, owner: str) -> None:
        match node:
            case ast.FunctionDef():
                self._function(node, owner)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                scope.check_declaration(node, name)
                scope.type(annotation)
                if value is not None:
                    scope.literal(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _NAME_LISTS:
                scope.literal(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                scope.check_declaration(node, name)
                scope.literal(value)
            case ast.Assign(
                targets=[
                    ast.Subscript(
                        value=ast.Name(id="__annotations__"), slice=ast.Constant(value=str()) as name
                    )
                ],
                value=annotation,
            ):
                scope.check_declaration(name, scope.quoted(name))
                scope.type(annotation)
            case ast.Pass():
                pass
            case _:
                scope.refuse(node, "a statement in a class")

    def _function(self, node: ast.FunctionDef, owner: str | None = None) -> None:
        scope = self._scope()
        if node.name in _RUN_WHILE_LOADING:
            scope.refuse(node, f"the method {node.name}, which PyTorch runs while it loads the file")
        if node.name.startswith("__") and node.name.endswith("__") and node.name not in _METHODS:
            scope.refuse(node, f"the method {quoted(node.name)}")
        scope.check_binding(node, node.name)
        arguments = node.args
        if node.decorator_list or arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            scope.refuse(node, f"the function {quoted(node.name)} with decorators or starred arguments")
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            # PyTorch computes these while it loads the file.
            if default is not None:
                scope.literal(default)
        everything = [*arguments.args, *arguments.kwonlyargs]
        bound: set[str] = set()
        for argument in everything:
            scope.check_binding(argument, argument.arg)
            if argument.arg in bound:
                scope.refuse(argument, f"two arguments of the name {quoted(argument.arg)}")
            bound.add(argument.arg)
            if argument.annotation is not None:
                scope.type(argument.annotation)
        if node.returns is not None:
            scope.type(node.returns)
        names = frozenset(bound | _stored_names(node))
        receivers = Receivers(self._definitions, owner, node)
        _Body(Scope(self._file, self._definitions, names, receivers)).check(node.body)


class _Body:
    """The statements of one function."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def check(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        scope = self._scope
        match node:
            case ast.Assign(targets=[target], value=value):
                scope.target(target)
                scope.expression(value)
            case ast.AnnAssign(target=ast.Name() as target, annotation=annotation, value=ast.expr() as value):
                scope.target(target)
                scope.type(annotation)
                scope.expression(value)
            case ast.Expr(value=ast.Call() as value) | ast.Return(value=ast.expr() as value):
                scope.expression(value)
            case ast.Return() | ast.Pass() | ast.Break() | ast.Continue():
                pass
            case ast.FunctionDef():
                scope.refuse(node, "a function in a function, as programs have that start threads (fork)")
            case _:
                self._block(node)

    def _block(self, node: ast.stmt) -> None:
        """A statement that holds statements."""
        scope = self._scope
        match node:
            case ast.If(test=test, body=body) | ast.While(test=test, body=body):
                scope.expression(test)
                self.check(body)
                self.check(node.orelse)
            case ast.For(target=target, iter=items, body=body, orelse=[]):
                scope.target(target)
                scope.expression(items)
                self.check(body)
            case ast.With(items=[ast.withitem(context_expr=context, optional_vars=None)], body=body):
                scope.expression(context)
                self.check(body)
            case _:
                scope.refuse(node, f"a statement of kind {type(node).__name__}")


def _stored_names(function: ast.FunctionDef) -> set[str]:
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
