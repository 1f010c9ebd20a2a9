"""A checkpoint's file: named tensors and named values, checked as they are taken out.

The file is a safetensors file whose metadata holds JSON: no pickle, so reading one runs nobody's code, and
tensors stay mapped from the file, whatever their size. A checksum over everything tells a damaged file.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from uuid import uuid4

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ladder_schema.protocol import CheckpointName

FORMAT: Literal[1] = 1
"""To be raised whenever what a checkpoint means changes; those of another format are not used."""

_CHUNK_BYTES = 1 << 24

_Model = TypeVar("_Model", bound=BaseModel)


class RecordError(Exception):
    """A file is no checkpoint that this run can go on from."""


class About(BaseModel):
    """What a checkpoint is of.

    Attributes:
        format: Version of what checkpoints mean.
        name: Which checkpoint.
        fingerprint: Of the run: its configuration and uploads.
        id: Unlike any other checkpoint's.
        built_on: The ids of the complete checkpoints of earlier stages it was made from.
        complete: Whether its stage was done.
        seconds: What its stage had taken, over all attempts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = FORMAT
    name: CheckpointName
    fingerprint: str
    id: str = Field(default_factory=lambda: uuid4().hex)
    built_on: tuple[str, ...]
    complete: bool
    seconds: Annotated[float, Field(ge=0.0, le=1e8)]


@dataclass(frozen=True)
class Record:
    """What a checkpoint keeps.

    Attributes:
        tensors: Contiguous, on the CPU, none of them sharing memory with another; may be memory-mapped.
        values: Finite, whatever JSON can hold.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, BaseModel] = field(default_factory=dict)

    def __or__(self, other: "Record") -> "Record":
        """Return both records' content."""
        return Record({**self.tensors, **other.tensors}, {**self.values, **other.values})


@dataclass(frozen=True)
class Stored:
    """A checkpoint as it was found; nothing in it is believed before it was asked for by kind and shape.

    Attributes:
        about: What it is of.
        tensors: Mapped from the file: to be copied before they are changed.
        values: JSON objects.
    """

    about: About
    tensors: Mapping[str, Tensor]
    values: Mapping[str, object]

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a tensor.

        Raises:
            RecordError: There is none, or one of another kind or shape.
        """
        found = self.tensors.get(name)
        if found is None:
            raise RecordError(f"no tensor {name}")
        if found.dtype != dtype or found.shape != shape:
            raise RecordError(f"{name} is {found.dtype} {tuple(found.shape)}, expected {dtype} {shape}")
        return found

    def value(self, name: str, model: type[_Model]) -> _Model:
        """Return a value.

        Raises:
            RecordError: There is none.
            pydantic.ValidationError: It is not what the model describes.
        """
        if name not in self.values:
            raise RecordError(f"no value {name}")
        return model.model_validate(self.values[name])


def save_record(path: Path, about: About, record: Record) -> None:
    """Write a checkpoint; the file appears under its name when it is whole.

    Raises:
        OSError, SafetensorError: It could not be written.
    """
    # Not synced: it outlives this process only where the parent stores it elsewhere, and a machine that
    # loses its disk's cache loses the attempt's directory with it.
    values = json.dumps({name: value.model_dump(mode="json") for name, value in record.values.items()})
    texts = {"about": about.model_dump_json(), "values": values}
    checksum = f"{_checksum(texts, record.tensors):08x}"
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(dict(record.tensors), partial, metadata={**texts, "checksum": checksum})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_record(path: Path, *, on_chunk: Callable[[], None] = lambda: None) -> Stored:
    """Map a checkpoint and check that it is whole.

    Args:
        path: May be gone once this has returned; a file that is replaced must not be changed in place.
        on_chunk: Called while a large file is read; may raise to stop.

    Raises:
        RecordError: The file is damaged.
        Exception: Whatever else reading a file of unknown content brings about.
    """
    with safe_open(path, framework="pt", device="cpu") as file:
        texts = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    expected = texts.pop("checksum", "")
    if f"{_checksum(texts, tensors, on_chunk):08x}" != expected:
        raise RecordError("its checksum is another: the file is damaged")
    values = json.loads(texts["values"])
    if not isinstance(values, dict):
        raise RecordError("its values are no object")
    return Stored(About.model_validate_json(texts["about"]), tensors, values)


def _checksum(
    texts: Mapping[str, str], tensors: Mapping[str, Tensor], on_chunk: Callable[[], None] = lambda: None
) -> int:
    checksum = zlib.crc32(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        for chunk in _chunks(tensors[name]):
            checksum = zlib.crc32(chunk, checksum)
            on_chunk()
    return checksum


def _chunks(tensor: Tensor) -> Iterator[memoryview]:
    content = tensor.reshape(-1).view(torch.uint8).numpy().data
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]
