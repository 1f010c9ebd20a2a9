"""What a worker needs besides the settings it shares with the API."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ladder_jobs.settings import Settings

_MIB = 1 << 20
_GIB = 1 << 30
_MAX_UID = (1 << 31) - (1 << 16)  # beyond, the kernel's special ids begin


class WorkerSettings(Settings):
    """Limits and grace times of the processes that run jobs."""

    collect_seconds: PositiveFloat = Field(
        3600.0, description="How often housekeeping looks for objects that no job names."
    )
    stop_grace_seconds: PositiveFloat = Field(
        2.0,
        description="How long a cancelled job may take to stop, before its process gets SIGTERM.",
    )
    shutdown_grace_seconds: PositiveFloat = Field(
        15.0,
        description="How long a running job may take to leave a checkpoint and stop when its worker is told "
        "to, before its process gets SIGTERM.",
    )
    store_grace_seconds: PositiveFloat = Field(
        10.0,
        description="How long a worker that is told to stop waits for the object store to take a job's last "
        "checkpoint, or its results.",
    )
    term_grace_seconds: PositiveFloat = Field(
        1.0, description="How long after SIGTERM a job's processes get SIGKILL."
    )
    retry_seconds: PositiveFloat = Field(
        5.0,
        description="Pause of a job after an outage that only it met, and of a worker after one that was its "
        "own; twice as long after each further one.",
    )
    death_pause_seconds: NonNegativeFloat = Field(
        5.0,
        description="Pause of a job whose process has died, so that another worker may be the next to try.",
    )
    checkpoint_seconds: PositiveFloat = Field(
        30.0, description="How often a training leaves a checkpoint for another attempt to go on from."
    )
    max_outages: Annotated[int, Field(ge=1)] = Field(
        25,
        description="Outages that a job meets, and its worker without it does not, before it fails instead "
        "of being tried again.",
    )
    settle_seconds: PositiveFloat = Field(
        600.0, description="How long a worker tries to record a job's end while Postgres does not answer."
    )
    max_result_bytes: PositiveInt = Field(
        16 * _GIB,
        description="Largest file a job may write, in bytes: each of its results, and the cache that "
        "a dataset is decoded into.",
    )
    max_disk_bytes: PositiveInt = Field(
        128 * _GIB, description="Disk that one attempt may fill with its files, in bytes."
    )
    min_free_bytes: NonNegativeInt = Field(
        _GIB,
        description="Room that has to be left on the disk of `LADDER_WORK_DIR`, in bytes: below, a job that "
        "has itself written more than half of what the disk holds fails, and any other goes back to its "
        "queue. Inputs that would leave less are not fetched.",
    )
    job_idle_seconds: PositiveFloat = Field(
        3600.0, description="How long an attempt may go on without progress."
    )
    max_log_bytes: PositiveInt = Field(16 * _MIB, description="How much of a job's log is kept, in bytes.")
    max_memory_bytes: PositiveInt | None = Field(
        None,
        description="Resident memory of one job, in bytes; empty allows nine tenths of what there is.",
    )
    sandbox: Literal["strict", "best-effort"] = Field(
        "strict",
        description="`strict` refuses to start where a wall is missing that nothing replaces, such as "
        "landlock or seccomp; `best-effort` says so and goes on without.",
    )
    bubblewrap: Literal["auto", "off"] = Field(
        "auto", description="`auto` starts models within bubblewrap where it is installed and works."
    )
    child_uid: Annotated[int, Field(ge=1, lt=_MAX_UID)] = Field(
        60_800,
        description="Where the worker runs as root: the first of the users that hold models, one for each "
        "attempt, each with a group of the same number.",
    )
    child_uids: Annotated[int, Field(ge=1, le=1 << 16)] = Field(
        64,
        description="How many such users there are: as many as attempts can run at once in one "
        "`LADDER_WORK_DIR`, which is where workers agree on them.",
    )
    allow_root_children: bool = Field(
        default=False,
        description="Run models as root where the worker is root and no other user can run Python; "
        "otherwise it refuses to start.",
    )

    def attempt_dir(self, job_id: object, attempt: int) -> Path:
        """Directory of one attempt's files."""
        return self.work_dir / str(job_id) / str(attempt)
