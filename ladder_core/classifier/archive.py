"""Recognise an uploaded model file and load it, or say what it is instead.

This module names honest mistakes. It is no defence: ``torch.jit.load`` runs code of the file while loading,
and ``torch.export.load`` reads pickles, so a file from a stranger is loaded only in a process that may do no
harm.
"""

from __future__ import annotations

import zipfile
from enum import Enum, auto
from pathlib import Path

import torch

from ladder_core.errors import ModelError
from ladder_core.harm import load_checked_script
from ladder_schema.errors import ErrorCode

_HOW_TO_EXPORT = "export the model with torch.jit.trace(model.eval(), images).save(path)"
_FOREIGN_FORMATS = (
    (b"\x80", "a pickle, as torch.save wrote before PyTorch 1.6"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
)
_SUMMARY_LENGTH = 300


class ArchiveKind(Enum):
    """The archives that hold a program."""

    TORCHSCRIPT = auto()
    EXPORT = auto()


def archive_kind(path: Path) -> ArchiveKind:
    """Recognise a model file by its content.

    Raises:
        ModelError: ``MODEL_UNREADABLE`` if it is no archive that holds a program.
    """
    return _kind(_archive_names(path))


def load_script(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, bytes]]:
    """Load a TorchScript file onto the CPU.

    Args:
        path: The file.

    Returns:
        The module as saved, and the extra files the user stored in it (``_extra_files`` of
        ``torch.jit.save``).

    Raises:
        ModelError: ``MODEL_UNREADABLE`` if the file is no TorchScript archive or cannot be loaded,
            ``MODEL_UNSUPPORTED`` if PyTorch wrote it but cannot read it, ``MODEL_UNSAFE`` if a method of it
            holds an operator that no classifier needs.
    """
    extra: dict[str, str | bytes] = dict.fromkeys(_extra_files(_archive_names(path)), "")
    try:
        script = load_checked_script(path, extra)
    except ModelError:
        raise
    except Exception as error:
        # Whatever the file's own code raised while loading is the file's fault.
        raise _load_error(error) from error
    return script, {key: text.encode() if isinstance(text, str) else text for key, text in extra.items()}


def load_export(path: Path) -> tuple[torch.export.ExportedProgram, dict[str, str]]:
    """Load a ``torch.export`` file.

    Args:
        path: The file.

    Returns:
        The program as saved, and the extra files the user stored in it (``extra_files`` of
        ``torch.export.save``).

    Raises:
        ModelError: ``MODEL_UNREADABLE`` if the file cannot be loaded, ``MODEL_UNSUPPORTED`` if it holds
            objects of custom classes.
    """
    names = _archive_names(path)
    if any(Path(name).name.startswith("custom_obj") for name in names):
        raise ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            "the model file holds objects of custom classes; keep to tensors and PyTorch's own layers",
        )
    extra: dict[str, str] = dict.fromkeys(_extra_files(names), "")
    try:
        # Opened here, since by its path a file is only read if the path ends in .pt2.
        with path.open("rb") as file:
            program = torch.export.load(file, extra_files=extra)
        program.call_spec  # noqa: B018 - only now looks at what it is made of
    except Exception as error:
        # PyTorch raises whatever reading a wrong field happened to raise.
        raise _load_error(error) from error
    return program, extra


def as_module(program: torch.export.ExportedProgram) -> torch.nn.Module:
    """The program as a module that runs.

    Raises:
        ModelError: ``MODEL_UNREADABLE`` if its parts do not fit together.
    """
    try:
        return program.module()
    except Exception as error:
        # As above: fields that loading did not look at are read here.
        raise _load_error(error) from error


def _archive_names(path: Path) -> list[str]:
    """The entries of the archive, after checking that it is one."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise _unreadable(f"the model file cannot be read ({error.strerror})") from error
    if not start:
        raise _unreadable(f"the model file is empty; {_HOW_TO_EXPORT}")
    if not start.startswith(b"PK"):
        raise _unreadable(
            f"the model file is {_foreign_format(start)}, not an archive of TorchScript or torch.export; "
            f"{_HOW_TO_EXPORT}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged() from error
    if not any(entry.header_offset == 0 for entry in entries):
        # A truncated archive can end in the directory of a smaller one that it contains.
        raise _damaged()
    return [entry.filename for entry in entries]


def _foreign_format(start: bytes) -> str:
    for magic, description in _FOREIGN_FORMATS:
        if start.startswith(magic):
            return description
    if start[8:9] == b"{":
        return "a safetensors file (weights without a program)"
    if b"ustar" in start:
        return "a tar file"
    return "of an unknown format"


def _kind(names: list[str]) -> ArchiveKind:
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return ArchiveKind.TORCHSCRIPT
    if "models/model.json" in inside or "serialized_exported_program.json" in {*names, *inside}:
        return ArchiveKind.EXPORT
    if "data.pkl" in inside:
        raise _unreadable(
            "the model file was written by torch.save: it holds a state_dict or a pickled module, which "
            f"cannot run without your Python code; {_HOW_TO_EXPORT}"
        )
    raise _unreadable(
        f"the model file is a zip archive without a TorchScript or torch.export program; {_HOW_TO_EXPORT}"
    )


def _extra_files(names: list[str]) -> list[str]:
    parts = [name.split("/", 2) for name in names]
    return [part[2] for part in parts if len(part) == 3 and part[1] == "extra" and part[2]]


def _load_error(error: Exception) -> ModelError:
    reason = " ".join(str(error).split())
    if "required keyword attribute" in reason or "mkldnn" in reason.lower() or "prepacked::" in reason:
        return ModelError(
            ErrorCode.MODEL_UNSUPPORTED,
            "the model file cannot be loaded again: this happens to files from "
            "torch.jit.optimize_for_inference, which PyTorch saves but cannot read; save the module before "
            "that call",
        )
    # PyTorch quotes the file's own bytes.
    reason = "".join(char if char.isprintable() else "?" for char in reason[: _SUMMARY_LENGTH + 1])
    if len(reason) > _SUMMARY_LENGTH:
        reason = reason[:_SUMMARY_LENGTH] + " ..."
    return _unreadable(f"PyTorch {torch.__version__} cannot load the model file: {reason}")


def _damaged() -> ModelError:
    return _unreadable("the model file is a damaged or truncated archive; upload it again")


def _unreadable(message: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_UNREADABLE, message)
