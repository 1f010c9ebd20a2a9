"""Which walls an uploaded model file has to pass before PyTorch may read it."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from ladder_core.errors import ModelError
from ladder_core.harm.containers import check_archive
from ladder_core.harm.entries import ArchiveListing
from ladder_core.harm.exported import NESTED_ARCHIVES, check_export
from ladder_core.harm.limits import MODEL, MODEL_LIMITS
from ladder_core.harm.pickles import MAX_PICKLE_BYTES, TORCHSCRIPT_GLOBALS, check_pickle
from ladder_core.harm.source_text import MAX_FILE_BYTES
from ladder_core.harm.storages import check_storages, records_of
from ladder_core.harm.torchscript_code import check_program
from ladder_core.text import quoted
from ladder_schema.errors import ErrorCode

_TORCHSCRIPT_ENTRY = re.compile(
    r"(data\.pkl|constants\.pkl|attributes\.pkl|traced_inputs\.pkl|version|byteorder|\.format_version"
    r"|\.storage_alignment|\.data/[a-z_]+|(data|constants|traced_inputs|attributes)/\w+"
    r"|code/[\w/]+\.py(\.debug_pkl)?|extra/.+)",
    re.ASCII,
)
_LARGEST_PICKLES = 4 * MAX_PICKLE_BYTES


def check_model(path: Path) -> None:
    """Check an uploaded model file without loading it: container, then program text and pickles.

    A file that is no zip archive passes; PyTorch's readers are never given one, and who loads the file says
    what it is instead.

    Args:
        path: The file.

    Raises:
        ModelError: ``MODEL_UNSAFE``, ``MODEL_UNREADABLE`` or ``MODEL_UNSUPPORTED``; the message names the
            entry, and the line, operator or value in it that was refused.
    """
    listing = check_archive(path, MODEL_LIMITS, nested_allowed=NESTED_ARCHIVES)
    if listing.kind != "zip":
        return
    with path.open("rb") as file, readable(file) as archive:
        inside = {name.partition("/")[2] for name in listing.names}
        _refuse_other_formats({*listing.names, *inside})
        if any(name == "constants.pkl" or name.startswith("code/") for name in inside):
            _check_torchscript(archive, listing)
        elif any(name.endswith(".json") for name in listing.names):
            check_export(archive, listing)


@contextmanager
def readable(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a checked archive; what turns out damaged on reading is the upload's fault.

    Raises:
        ModelError: ``MODEL_UNREADABLE``.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError) as error:
        MODEL.unreadable(f"an entry of the archive is damaged ({error})")


def _refuse_other_formats(names: set[str]) -> None:
    if "bytecode.pkl" in names:
        _unsupported(
            "was saved for the mobile interpreter, as bytecode that cannot be checked", "torch.jit.save"
        )
    if "model.json" in names or any(name.startswith("tensors/") for name in names):
        _unsupported("is in the format of PyTorch 1.0 to 1.3, whose text cannot be checked", "torch.jit.save")


def _unsupported(what: str, remedy: str) -> NoReturn:
    raise ModelError(
        ErrorCode.MODEL_UNSUPPORTED,
        f"the model file {what}; save the module again with {remedy} of PyTorch 2",
    )


def _check_torchscript(archive: zipfile.ZipFile, listing: ArchiveListing) -> None:
    _check_layout(listing)
    sizes = {entry.name: entry.size for entry in listing.entries}
    program: dict[str, bytes] = {}
    pickles: list[str] = []
    for name in listing.names:
        inside = name.partition("/")[2]
        if inside.startswith("code/") and inside.endswith(".py"):
            _check_size("the program text", name, sizes[name], MAX_FILE_BYTES)
            program[inside.removeprefix("code/")] = archive.read(name)
        elif inside.endswith("pkl") and not inside.startswith("extra/"):
            pickles.append(name)
    classes = check_program(program)
    _check_size("the pickles up to", pickles[-1], sum(sizes[name] for name in pickles), _LARGEST_PICKLES)
    for name in pickles:
        _check_size("the pickle", name, sizes[name], MAX_PICKLE_BYTES)
        data = archive.read(name)
        check_pickle(data, name, allowed=TORCHSCRIPT_GLOBALS, classes=classes)
        # The examples of a trace are saved without their values, and are not read unless one asks for them.
        if not name.endswith("/traced_inputs.pkl"):
            check_storages(data, name, records_of(name, sizes))


def _check_layout(listing: ArchiveListing) -> None:
    """Check that the archive holds what ``torch.jit.save`` writes, once, and nothing else."""
    roots = sorted({name.partition("/")[0] for name in listing.names})
    if len(roots) != 1:
        MODEL.unsafe(f"its entries lie in {len(roots)} folders, {', '.join(map(quoted, roots[:3]))}")
    spellings: set[str] = set()
    for name in listing.names:
        inside = name.partition("/")[2]
        if not _TORCHSCRIPT_ENTRY.fullmatch(inside):
            MODEL.unsafe(f"the entry {quoted(name)} is none that torch.jit.save writes")
        # PyTorch's zip reader takes capitals for small letters where it finds no exact name.
        if inside.lower() in spellings:
            MODEL.unsafe(f"the entry {quoted(name)} occurs again in another spelling")
        spellings.add(inside.lower())
    if not {"data.pkl", "constants.pkl"} <= spellings:
        MODEL.unreadable("the archive has no data.pkl or no constants.pkl: it is not whole")


def _check_size(what: str, name: str, size: int, limit: int) -> None:
    if size > limit:
        MODEL.unsafe(f"{what} {quoted(name)} holds {size} bytes; {limit} are allowed")
