"""What a worker and its child say to each other: JSON lines on two pipes.

The child writes its results under fixed names in its work directory, so no path crosses the pipe towards the
parent. Everything the child sends is untrusted data.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ladder_schema.config import JobConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import MAX_MESSAGE_LENGTH, Stage

PROTOCOL_VERSION: Literal[1] = 1
MAX_LINE_BYTES = 1 << 16


class ResultFile(StrEnum):
    """Names of the files a finished child leaves in its work directory."""

    MODEL = "model.pt"
    WEIGHTS = "weights.safetensors"
    EXAMPLES = "examples.zip"
    REPORT = "report.json"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Start(_Message):
    """Parent to child, first line: what to do."""

    type: Literal["start"] = "start"
    version: Literal[1] = PROTOCOL_VERSION
    model: Path = Field(description="The uploaded model, readable by the child.")
    dataset: Path = Field(description="The uploaded dataset, readable by the child.")
    work_dir: Path = Field(description="The one directory the child may write to.")
    device: str = Field("cpu", description="Torch device, e.g. `cpu` or `cuda`.")
    config: JobConfig


class Stop(_Message):
    """Parent to child: stop at the next opportunity."""

    type: Literal["stop"] = "stop"


class Hello(_Message):
    """Child to parent, first line."""

    type: Literal["hello"] = "hello"
    version: int = Field(PROTOCOL_VERSION, description="Of the protocol that the child speaks.")


class Progress(_Message):
    """Child to parent: where the job stands."""

    type: Literal["progress"] = "progress"
    stage: Stage
    progress: Annotated[float, Field(ge=0.0, le=1.0)] = Field(description="Share of the whole job, 0 to 1.")
    detail: Annotated[str, Field(max_length=200)] = ""


class Done(_Message):
    """Child to parent, last line: every `ResultFile` is complete."""

    type: Literal["done"] = "done"


class Failed(_Message):
    """Child to parent, last line: the job cannot succeed."""

    type: Literal["failed"] = "failed"
    code: ErrorCode
    message: Annotated[str, Field(max_length=MAX_MESSAGE_LENGTH)]
    stage: Stage | None = None


class Stopped(_Message):
    """Child to parent, last line: the stop request was honoured."""

    type: Literal["stopped"] = "stopped"


ToChild = Annotated[Start | Stop, Field(discriminator="type")]
FromChild = Annotated[Hello | Progress | Done | Failed | Stopped, Field(discriminator="type")]

TO_CHILD: TypeAdapter[Start | Stop] = TypeAdapter(ToChild)
FROM_CHILD: TypeAdapter[Hello | Progress | Done | Failed | Stopped] = TypeAdapter(FromChild)
