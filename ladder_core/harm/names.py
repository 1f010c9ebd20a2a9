"""The names in an exported program, which PyTorch pastes into Python source and executes.

``torch.fx`` writes a graph out as a function: the names of inputs and values become its arguments and
variables, and names of parameters and modules become string literals in it. None is escaped. So a value's
name has to be a Python name, and a parameter's may hold nothing that ends a string.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import Any

# Carried along and never executed, or checked for what they are by `ladder_core.harm.exported`; an operator's
# string arguments become literals by ``repr``.
_FREE = frozenset(
    {"metadata", "as_string", "as_strings", "target", "in_spec", "out_spec", "expr_str", "guards_code"}
)
# Parameters' and modules' own names; Python takes any string there.
_LITERALS = frozenset(
    {
        "parameter_name",
        "buffer_name",
        "tensor_constant_name",
        "target_name",
        "fqn",
        "module_fqn",
        "path_name",
        "torch_version",
        "config",
    }
)
_WORD = re.compile(r"[\w.]*", re.ASCII)
_LITERAL = re.compile(r"[^\x00-\x1f\x7f\"'\\{}]*")
# Of inputs and values, which become arguments and variables of the function.
_VARIABLES = frozenset({"name", "as_name", "forward_arg_names"})
# What the function calls its module and PyTorch, and would no longer find.
_TAKEN = frozenset({"self", "torch"})


def unsafe_name(root: object) -> str | None:
    """The first name in a document that could become something else than a name; None where there is none."""
    for key, name in _names("", root):
        pattern = _LITERAL if key in _LITERALS else _WORD
        if not pattern.fullmatch(name) or (key in _VARIABLES and not is_argument(name)):
            return name
    return None


def is_argument(name: object) -> bool:
    """Whether a name may be an argument's."""
    if not isinstance(name, str) or name in _TAKEN:
        return False
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def is_literal(name: object) -> bool:
    """Whether a name may stand in a string literal of generated source."""
    return isinstance(name, int) or (isinstance(name, str) and bool(_LITERAL.fullmatch(name)))


def _names(key: str, root: object) -> Iterator[tuple[str, str]]:
    """Every string of a document that is not free, keys included, each with the key it stands under."""
    waiting: list[tuple[str, Any]] = [(key, root)]
    while waiting:
        key, item = waiting.pop()
        if isinstance(item, str):
            yield key, item
        elif isinstance(item, list):
            waiting.extend((key, value) for value in item)
        elif isinstance(item, dict):
            # An operator's own argument, beside which its value stands, may be called "self" or "from".
            is_operand = "arg" in item
            for inner, value in item.items():
                yield key, inner
                if inner not in _FREE:
                    waiting.append(("" if is_operand and inner == "name" else inner, value))
