"""`python -m worker hardening` and `python -m worker housekeeping`: each is one process."""

from enum import StrEnum
from typing import Annotated

import typer

from worker import logs
from worker.housekeeping import keep_house
from worker.service import serve
from worker.settings import WorkerSettings


class Queue(StrEnum):
    """Queues of jobs, by the hardware they want."""

    GPU = "gpu"
    CPU = "cpu"


class Device(StrEnum):
    """Where children compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


app = typer.Typer(no_args_is_help=True, help="Run hardening jobs. Settings come from LADDER_* variables.")


@app.command()
def hardening(
    queue: Annotated[Queue, typer.Option(help="Which queue of jobs to serve.")] = Queue.GPU,
    device: Annotated[
        Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")
    ] = Device.AUTO,
) -> None:
    """Run the jobs of one queue, one at a time."""
    settings = _settings()
    serve(settings, queue=queue.value, device=device.value)


@app.command()
def housekeeping() -> None:
    """Return the jobs of lost workers to their queues, and re-send lost wake-ups."""
    keep_house(_settings())


def _settings() -> WorkerSettings:
    settings = WorkerSettings()
    logs.configure(settings.log_level)
    return settings


if __name__ == "__main__":
    app(prog_name="python -m worker")
