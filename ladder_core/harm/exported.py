"""The walls before ``torch.export.load``: a ``.pt2`` archive's graph, expressions and pickles.

The graph is JSON and harmless by itself, but not what PyTorch makes of it. It calls each node's ``target``,
found by attribute look-up from ``torch``; it evaluates symbolic sizes with ``sympy.sympify``, which is
``eval``; it compiles ``guards_code`` with ``exec``; it imports modules that a tree's context names; and it
unpickles weights without restraint. So every one of these is checked, and compiled kernels and custom objects
are refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from ladder_core.harm.allowed import ALLOWED_EXPORT_TARGETS, is_allowed
from ladder_core.harm.containers import check_open_archive
from ladder_core.harm.entries import ArchiveListing, Entry
from ladder_core.harm.limits import MODEL, MODEL_LIMITS
from ladder_core.harm.names import is_argument, is_literal, unsafe_name
from ladder_core.harm.pickles import MAX_PICKLE_BYTES, TENSOR_GLOBALS, check_pickle
from ladder_core.harm.storages import check_storages, records_of
from ladder_core.harm.symbols import check_guard, check_symbolic
from ladder_core.text import quoted

NESTED_ARCHIVES = (".pt", *(f"/{kind}_{digit}" for kind in ("weight", "tensor") for digit in range(10)))
_MAX_JSON_BYTES = 128 << 20
_MAX_PICKLED_BYTES = 512 << 20
# What lies in the archive's folder.
_ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|version|\.format_version|\.storage_alignment"
    r"|\.data/[a-z_]+|models/[\w.-]+\.json|data/(weights|constants)/((weight|tensor)_\d+|[\w.-]+\.(json|pt))"
    r"|data/sample_inputs/[\w.-]+\.pt|extra/.+",
    re.ASCII,
)
# PyTorch 2.7 and earlier used no folder. Extra files lie flat in theirs, lest it pass for one.
_OLD_ENTRY = re.compile(r"version|serialized_\w+\.(json|pt)|extra_files/[\w.-]+", re.ASCII)
_SAVED_ENTRY = re.compile(
    r"[\w.-]+/(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/[a-z_]+|data/\d+)",
    re.ASCII,
)
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)(?:\.([A-Za-z]\w*))?", re.ASCII)
_PAYLOAD = re.compile(r"(weight|tensor)_\d+", re.ASCII)
_FUNCTION = re.compile(r"(torch|math|_operator)\.(\w+)", re.ASCII)
_OBJECTS = ("as_custom_obj", "custom_obj", "custom_obj_values", "as_operator", "class_fqn")
_TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def check_export(archive: zipfile.ZipFile, listing: ArchiveListing) -> None:
    """Check a ``torch.export`` archive whose container was found harmless.

    Raises:
        ModelError: ``MODEL_UNSAFE``, naming the entry and what in it was refused.
    """
    pickled: set[str] = set()
    entries = _program_entries(listing)
    for entry in entries:
        if entry.name.endswith(".json"):
            if entry.size > _MAX_JSON_BYTES:
                MODEL.unsafe(f"{quoted(entry.name)} holds {entry.size} bytes; {_MAX_JSON_BYTES} are allowed")
            pickled.update(_Document(entry.name).check(archive.read(entry.name)))
    for entry in entries:
        base = entry.name.rpartition("/")[2]
        is_archive = entry.nested is not None and _PAYLOAD.fullmatch(base)
        if base in pickled or entry.name.endswith(".pt") or is_archive:
            if entry.size > _MAX_PICKLED_BYTES:
                MODEL.unsafe(
                    f"{quoted(entry.name)} pickles {entry.size} bytes; {_MAX_PICKLED_BYTES} are allowed"
                )
            _check_saved(archive.read(entry.name), entry.name)


def _program_entries(listing: ArchiveListing) -> list[Entry]:
    """The entries that PyTorch makes something of: all but the texts that users store beside a program.

    PyTorch's reader takes the first entry's folder for the archive's, whatever it is called. So there may be
    only one, and which files are extra is asked inside of it.
    """
    is_old = any("/" not in name for name in listing.names)
    roots = sorted({name.partition("/")[0] for name in listing.names})
    if not is_old and len(roots) != 1:
        MODEL.unsafe(f"its entries lie in {len(roots)} folders, {', '.join(map(quoted, roots[:3]))}")
    pattern, extra = (_OLD_ENTRY, "extra_files/") if is_old else (_ENTRY, "extra/")
    kept: list[Entry] = []
    for entry in listing.entries:
        inside = entry.name if is_old else entry.name.partition("/")[2]
        if not pattern.fullmatch(inside):
            MODEL.unsafe(
                f"the entry {quoted(entry.name)} is none that torch.export.save writes for a classifier"
            )
        if not inside.startswith(extra):
            kept.append(entry)
    return kept


def _check_saved(data: bytes, name: str) -> None:
    """Check what ``torch.save`` wrote, which ``torch.load`` is going to unpickle."""
    if not data:
        return
    listing = check_open_archive(io.BytesIO(data), MODEL_LIMITS)
    if listing.kind != "zip":
        MODEL.unsafe(f"{quoted(name)} holds a pickle outside of an archive, as PyTorch wrote before 1.6")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in listing.entries:
            # A program in here would be loaded as TorchScript.
            if not _SAVED_ENTRY.fullmatch(entry.name):
                MODEL.unsafe(f"{quoted(name)} holds {quoted(entry.name)}, which torch.save does not write")
        sizes = {entry.name: entry.size for entry in listing.entries}
        for entry in listing.entries:
            if entry.name.endswith(".pkl"):
                if entry.size > MAX_PICKLE_BYTES:
                    MODEL.unsafe(f"the pickle in {quoted(name)} holds {entry.size} bytes")
                pickle, where = archive.read(entry.name), f"{name}/{entry.name}"
                check_pickle(pickle, where, allowed=TENSOR_GLOBALS)
                check_storages(pickle, where, records_of(entry.name, sizes), for_python=True)


class _Document:
    """One JSON file of the archive."""

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self, text: bytes) -> set[str]:
        """Check every value in it.

        Returns:
            The names of payloads that it says are pickled.
        """
        try:
            # As PyTorch decodes it; left to itself, json would guess among several encodings.
            root = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            MODEL.unreadable(f"{quoted(self._name)} is no JSON ({type(error).__name__})")
        if (name := unsafe_name(root)) is not None:
            self._refuse(f"has the name {quoted(name)}, which could become code: rename it")
        pickled: set[str] = set()
        for node in _objects(root):
            self._object(node)
            if node.get("use_pickle"):
                pickled.add(str(node.get("path_name")))
        return pickled

    def _object(self, node: dict[str, Any]) -> None:
        for key in _OBJECTS:
            if node.get(key):
                self._refuse(f"holds an object of a custom class ({key})")
        if "path_name" in node and not _PAYLOAD.fullmatch(str(node["path_name"])):
            self._refuse(f"names the payload {quoted(str(node['path_name']))}: only tensors are allowed")
        if "target" in node:
            self._target(str(node["target"]))
        if "expr_str" in node and not check_symbolic(str(node["expr_str"])):
            self._refuse(f"has the symbolic size {quoted(str(node['expr_str']))}, which is no arithmetic")
        for guard in node.get("guards_code") or ():
            if not check_guard(str(guard)):
                self._refuse(f"has the guard {quoted(str(guard))}, which is no comparison of sizes")
        for key in ("in_spec", "out_spec"):
            if isinstance(node.get(key), str) and node[key]:
                self._tree(node[key], are_arguments=key == "in_spec")

    def _target(self, target: str) -> None:
        match = _OPERATOR.fullmatch(target)
        if match and (is_allowed(name := f"{match[1]}::{match[2]}") or name in ALLOWED_EXPORT_TARGETS):
            return
        match = _FUNCTION.fullmatch(target)
        if match and f"{match[1]}::{match[2]}" in ALLOWED_EXPORT_TARGETS:
            return
        self._refuse(f"calls {quoted(target)}, an operator that is not on the list")

    def _tree(self, spec: str, *, are_arguments: bool) -> None:
        """Check how arguments and results are packed: in plain containers, whose context imports nothing."""
        is_key = is_argument if are_arguments else is_literal
        try:
            root = json.loads(spec)
            for node in _objects(root):
                context = json.loads(node.get("context") or "null")
                if node.get("type") not in _TREES or any(True for _ in _objects(context)):
                    self._refuse(f"packs arguments or results in a {quoted(str(node.get('type')))}")
                for key in context if isinstance(context, list) else ():
                    if not is_key(key):
                        self._refuse(f"has the name {quoted(str(key))}, which could become code: rename it")
        except (ValueError, TypeError, RecursionError):
            self._refuse("has a damaged description of its arguments")

    def _refuse(self, what: str) -> None:
        MODEL.unsafe(f"{quoted(self._name)} {what}")


def _objects(root: object) -> Iterator[dict[str, Any]]:
    """Every JSON object in a document, however deep."""
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
