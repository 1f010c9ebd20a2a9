"""What a worker and its child say to each other: JSON lines on two pipes.

The child writes its results under fixed names in its work directory, so no path crosses the pipe towards the
parent. Everything the child sends is untrusted data.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, TypeAdapter

from ladder_schema.config import JobConfig
from ladder_schema.errors import ErrorCode
from ladder_schema.jobs import MAX_MESSAGE_LENGTH, Stage

PROTOCOL_VERSION: Literal[3] = 3
MAX_LINE_BYTES = 1 << 16


class ResultFile(StrEnum):
    """Names of the files a finished child leaves in its work directory."""

    MODEL = "model.pt"
    WEIGHTS = "weights.safetensors"
    EXAMPLES = "examples.zip"
    REPORT = "report.json"


class CheckpointName(StrEnum):
    """What a later attempt can go on from: the output of a stage, or the state of a training in it.

    The child leaves each under its name in `CHECKPOINTS`; an earlier attempt's have the same names.
    """

    LATENTS = "latents"
    BOUNDARY = "boundary"
    GENERATOR = "generator"
    EXAMPLES = "examples"
    RETRAIN = "retrain"
    EVALUATE = "evaluate"


CHECKPOINTS = "checkpoints"
"""Directory of the checkpoints, in the child's work directory."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Start(_Message):
    """Parent to child, first line: what to do."""

    type: Literal["start"] = "start"
    version: Literal[3] = PROTOCOL_VERSION
    model: Path = Field(description="The uploaded model, readable by the child.")
    dataset: Path = Field(description="The uploaded dataset, readable by the child.")
    work_dir: Path = Field(description="The one directory the child may write to.")
    device: str = Field("cpu", description="Torch device, e.g. `cpu` or `cuda`.")
    resume_from: Path | None = Field(
        None, description="Directory of an earlier attempt's checkpoints, readable by the child."
    )
    checkpoint_seconds: PositiveFloat = Field(
        30.0, description="How often a training leaves a checkpoint, in seconds."
    )
    config: JobConfig


class Rehearse(_Message):
    """Parent to child, first line in place of a job: show that one could run, by computing on the device.

    The child answers `Done` or `Failed`.
    """

    type: Literal["rehearse"] = "rehearse"
    device: str = Field(description="Torch device, e.g. `cpu` or `cuda`.")


class Stop(_Message):
    """Parent to child: stop at the next opportunity; a training leaves a checkpoint first."""

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


class Checkpoint(_Message):
    """Child to parent: a checkpoint is complete. The parent takes the file away, whenever it gets to it."""

    type: Literal["checkpoint"] = "checkpoint"
    name: CheckpointName


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


Message = Hello | Progress | Checkpoint | Done | Failed | Stopped
"""Whatever a child may say."""

Order = Start | Rehearse | Stop
"""Whatever a parent may say."""

TO_CHILD: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="type")])
FROM_CHILD: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])
