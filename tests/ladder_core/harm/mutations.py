"""Changes to model files that keep their form: integers, names, lines and nesting, not bytes.

What results is mostly a file that PyTorch can read. So it comes past the walls, and to those who trust them.
"""

import json
import pickletools
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

INTEGERS = st.sampled_from(
    [0, 1, 2, 3, 7, 63, 64, 65, 1 << 16, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -1, -8]
)
NAMES = st.sampled_from(
    [
        "x", "y", "self", "torch", "None", "lambda", "from", "__class__", "", "1a", "a b", "a.b", "self.a",
        "é", "x=1", 'x"', "x'", "x\\", "x{", "x\n", "fc.weight", "weight", "diff", "a" * 300,
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["x", "self", "torch", "add", "mul", "floordiv", "remainder", "pow", "neg", "size", "len", "flatten",
     "relu", "int", "float", "Tensor", "List[int]", "True", "None", "if", "for"]
)  # fmt: skip
_INTEGER_OPCODES = {"BININT", "BININT1", "BININT2", "LONG1"}
_STATEMENT = re.compile(r"( +)(\w+) = (.+)")
_USES = ["_", "torch.neg(_)", "torch.add(_, _)", "torch.mul(_, 1)", "torch.contiguous(_)", "[_, _]"]


def change(draw: st.DrawFn, name: str, content: bytes) -> bytes:
    """Change one place of an archive's entry, by what the entry holds; others stay as they are."""
    if name.endswith(".py"):
        return _program(draw, content.decode()).encode()
    if name.endswith(".json"):
        return json.dumps(_document(draw, json.loads(content))).encode()
    return _pickle(draw, content) if name.endswith(("data.pkl", "constants.pkl")) else content


def is_changed(name: str) -> bool:
    """Whether `change` knows what an entry holds."""
    return name.endswith((".py", ".json", "data.pkl", "constants.pkl"))


def _program(draw: st.DrawFn, text: str) -> str:
    match draw(st.sampled_from(["integer", "word", "chain", "chain", "nest"])):
        case "integer":
            return _replace(draw, text, r"\b\d+\b", lambda: str(draw(INTEGERS)))
        case "word":
            return _replace(draw, text, r"\b[A-Za-z]\w*\b", lambda: draw(WORDS))
        case "chain":
            return _after_statement(draw, text, _chain)
        case _:
            return _after_statement(draw, text, _nest)


def _replace(draw: st.DrawFn, text: str, pattern: str, new: Callable[[], str]) -> str:
    places = list(re.finditer(pattern, text))
    if not places:
        return text
    place = draw(st.sampled_from(places))
    return text[: place.start()] + new() + text[place.end() :]


def _after_statement(
    draw: st.DrawFn, text: str, lines: Callable[[st.DrawFn, str, str], Iterator[str]]
) -> str:
    """Put lines after one that sets a variable."""
    rows = text.split("\n")
    places = [at for at, row in enumerate(rows) if _STATEMENT.fullmatch(row)]
    if not places:
        return text
    at = draw(st.sampled_from(places))
    indent, variable, _ = _STATEMENT.fullmatch(rows[at]).groups()
    return "\n".join([*rows[: at + 1], *lines(draw, indent, variable), *rows[at + 1 :]])


def _chain(draw: st.DrawFn, indent: str, variable: str) -> Iterator[str]:
    """A variable computed from itself again and again: deep, or doubled each time."""
    use = draw(st.sampled_from(_USES))
    length = draw(st.sampled_from([1, 25, 60, 1200]))
    for number in range(length):
        before = f"{variable}_{number}" if number else variable
        yield f"{indent}{variable}_{number + 1} = {use.replace('_', before)}"
    if use != "[_, _]":
        yield f"{indent}{variable} = {variable}_{length}"


def _nest(draw: st.DrawFn, indent: str, variable: str) -> Iterator[str]:
    """A loop or branch within another, and so on."""
    head = draw(st.sampled_from(["for i{} in range(2):", "if True:", "if torch.gt(torch.len([1]), {}):"]))
    depth = draw(st.sampled_from([1, 5, 19, 25, 99]))
    for level in range(depth):
        yield indent + " " * level + head.format(level)
    yield f"{indent}{' ' * depth}{variable} = {variable}"


def _document(draw: st.DrawFn, root: Any) -> Any:
    """Another integer, or a name that is another here or everywhere."""
    leaves = list(_leaves(root))
    integers = [leaf for leaf in leaves if type(leaf[2]) is int]
    names = [leaf for leaf in leaves if isinstance(leaf[2], str)]
    kind = draw(st.sampled_from(["integer", "name", "renamed"]))
    if kind == "integer" and integers:
        parent, key, _ = draw(st.sampled_from(integers))
        parent[key] = draw(INTEGERS)
    elif names:
        parent, key, old = draw(st.sampled_from(names))
        new = draw(NAMES)
        if kind == "renamed":
            return _renamed(root, old, new)
        parent[key] = new
    return root


def _leaves(root: Any) -> Iterator[tuple[Any, Any, Any]]:
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for key, value in list(parent.items() if isinstance(parent, dict) else enumerate(parent)):
            if isinstance(value, (dict, list)):
                waiting.append(value)
            else:
                yield parent, key, value


def _renamed(root: Any, old: str, new: str) -> Any:
    if isinstance(root, dict):
        return {(new if key == old else key): _renamed(value, old, new) for key, value in root.items()}
    if isinstance(root, list):
        return [_renamed(value, old, new) for value in root]
    return new if root == old else root


def _pickle(draw: st.DrawFn, data: bytes) -> bytes:
    """Another integer in a pickle: a storage's length, or a tensor's offset, size or stride."""
    opcodes = list(pickletools.genops(data))
    places = [at for at, (opcode, _, _) in enumerate(opcodes) if opcode.name in _INTEGER_OPCODES]
    if not places:
        return data
    at = draw(st.sampled_from(places))
    start, end = opcodes[at][2], opcodes[at + 1][2]
    return data[:start] + b"\x8a\x08" + struct.pack("<q", draw(INTEGERS)) + data[end:]
