"""What a hostile file is, and how to tell which wall stopped it."""

import io
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ladder_core.errors import HardeningError
from ladder_schema.errors import ErrorCode


class Wall(StrEnum):
    """The walls, in the order an upload meets them."""

    CONTAINER = "container"
    PARSE = "parse"
    PICKLE = "pickle"
    EXPORT = "export graph"
    IR = "IR"
    LIMIT = "limit"
    IMAGES = "images"


_WALLS = {
    "containers": Wall.CONTAINER,
    "zips": Wall.CONTAINER,
    "tars": Wall.CONTAINER,
    "source_text": Wall.PARSE,
    "torchscript_code": Wall.PARSE,
    "expressions": Wall.PARSE,
    "pickles": Wall.PICKLE,
    "storages": Wall.PICKLE,
    "exported": Wall.EXPORT,
    "names": Wall.EXPORT,
    "loaded": Wall.IR,
    "objects": Wall.IR,
    "tensors": Wall.IR,
    "inlining": Wall.IR,
    "images": Wall.IMAGES,
    "folders": Wall.IMAGES,
    "cache": Wall.IMAGES,
}


def wall_of(error: HardeningError) -> Wall | None:
    """The wall whose code raised the error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if wall := _WALLS.get(Path(frame.filename).stem):
            return wall
    return None


@dataclass(frozen=True)
class Hostile:
    """A file that attacks.

    Attributes:
        attack: What it tries.
        make: Writes it; gets its path, and a directory outside of the work directory that it attacks.
        wall: What must stop it.
        words: Must be in the error's message.
        code: The error's code.
        of: ``model`` or ``dataset``.
    """

    attack: str
    make: Callable[[Path, Path], None]
    wall: Wall
    words: str
    code: ErrorCode = ErrorCode.MODEL_UNSAFE
    of: str = "model"


class Tiny(nn.Module):
    """The harmless classifier that most attacks dress up as."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


@cache
def harmless() -> bytes:
    """A TorchScript file as a user would send it."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Tiny().eval()), buffer)
    return buffer.getvalue()


@cache
def harmless_export() -> bytes:
    """A ``.pt2`` file as a user would send it."""
    buffer = io.BytesIO()
    batch = torch.export.Dim("batch")
    program = torch.export.export(Tiny().eval(), (torch.rand(4, 1, 8, 8),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, buffer)
    return buffer.getvalue()


def rewrite(
    archive: bytes,
    path: Path,
    edit: Callable[[str, bytes], bytes] = lambda name, data: data,
    extra: dict[str, bytes] | None = None,
) -> None:
    """Copy an archive, its entries changed and others added; ``{root}`` stands for its folder."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(path, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, edit(info.filename, source.read(info)))
        root = source.namelist()[0].partition("/")[0]
        for name, data in (extra or {}).items():
            target.writestr(name.format(root=root), data)
