"""From the text of a serialized program to a syntax tree that Python and TorchScript agree on.

PyTorch writes its programs in a subset of Python's syntax, and Python's own parser reads it. Where the two
languages read the same characters differently (comments, string prefixes, continued lines, Unicode
identifiers) an attacker could show one program to the check and another to PyTorch; so these characters,
which PyTorch never writes, are refused before parsing.
"""

from __future__ import annotations

import ast
import re

from ladder_core.harm.limits import MODEL
from ladder_core.text import quoted

MAX_FILE_BYTES = 4 << 20
MAX_PROGRAM_BYTES = 8 << 20
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"' + r"|'(?:[^'\\\n]|\\[^\n])*'")
_FOREIGN = re.compile(r"[^\n\x20-\x7e]|[#;\\\"'`@$?!~^&|%]|:=|\*\*|//")


def parse_source(text: bytes, file: str) -> ast.Module:
    """Parse one file of a program.

    Args:
        text: The file.
        file: Its name, for errors.

    Raises:
        ModelError: ``MODEL_UNSAFE``; the text is none PyTorch would write.
    """
    if len(text) > MAX_FILE_BYTES:
        MODEL.unsafe(f"{quoted(file)} holds {len(text)} bytes of program text; {MAX_FILE_BYTES} are allowed")
    try:
        source = text.decode("ascii")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        MODEL.unsafe(f"{quoted(file)}, line {line}: the program text holds characters beyond ASCII")
    _check_characters(source, file)
    try:
        return ast.parse(source)
    except SyntaxError as error:
        MODEL.unsafe(f"{quoted(file)}, line {error.lineno}: the program text cannot be parsed ({error.msg})")
    except (RecursionError, MemoryError, ValueError):
        MODEL.unsafe(
            f"{quoted(file)}: the program text cannot be parsed (nested too deeply, or a huge number)"
        )


def _check_characters(source: str, file: str) -> None:
    """Refuse what stands outside of strings and is not in TorchScript's printed form."""
    position = 0
    for match in [*_STRING.finditer(source), None]:
        end = len(source) if match is None else match.start()
        if foreign := _FOREIGN.search(source, position, end):
            _refuse(source, file, foreign.start(), f"has {foreign[0]!r}, which PyTorch does not write")
        if match is None:
            break
        if end == position != 0 or (end and (source[end - 1].isalnum() or source[end - 1] == "_")):
            _refuse(source, file, end, "has a string with a prefix, or of several parts")
        position = match.end()


def _refuse(source: str, file: str, position: int, what: str) -> None:
    line = source.count("\n", 0, position) + 1
    MODEL.unsafe(f"{quoted(file)}, line {line}: the program text {what}")
