"""`python -m worker hardening` and `python -m worker housekeeping`: each is one process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from ladder_jobs.logs import configure_logging
from ladder_jobs.tracing import TracingUnavailableError
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
    from worker.service import serve  # noqa: PLC0415 - each command loads only what it needs

    with _refusals():
        serve(_settings(), queue=queue.value, device=device.value)


@app.command()
def housekeeping(
    once: Annotated[
        bool, typer.Option("--once", help="Do all that is due, then stop; 1 if not all went well.")
    ] = False,
) -> None:
    """Return the jobs of lost workers, re-send lost wake-ups, clear away what has expired or nobody names."""
    from worker.housekeeping import keep_house, keep_house_once  # noqa: PLC0415 - as above

    if once:
        raise typer.Exit(0 if keep_house_once(_settings()) else 1)
    keep_house(_settings())


@app.command()
def sandbox(
    device: Annotated[Device, typer.Option(help="Where children would compute.")] = Device.AUTO,
) -> None:
    """Try to climb the walls around uploaded models, and show which of them stand here."""
    from worker.bubblewrap import find_bubblewrap  # noqa: PLC0415 - each command loads only what it needs
    from worker.cgroups import delegated_cgroups  # noqa: PLC0415
    from worker.devices import choose_device, pin_card  # noqa: PLC0415
    from worker.sandbox.proof import needs_gpu, prove  # noqa: PLC0415
    from worker.users import child_users  # noqa: PLC0415
    from worker.workdir import prepare_work_dir  # noqa: PLC0415

    settings = _settings()
    with _refusals():
        prepare_work_dir(settings.work_dir)
        chosen = choose_device(device.value, queue=Queue.CPU)
        pin_card(chosen)
        users, cgroups = child_users(settings), delegated_cgroups()
        bubblewrap = find_bubblewrap(settings, users, gpu=needs_gpu(chosen))
        climbs = prove(settings, users, chosen, cgroups=cgroups, bubblewrap=bubblewrap)
    typer.echo("| attempt | wall | expected | outcome |\n|---|---|---|---|")
    for climb in climbs:
        typer.echo(f"| {climb.attempt} | {climb.wall or '-'} | {climb.expected} | {climb.outcome} |")


@contextmanager
def _refusals() -> Iterator[None]:
    """Say why this worker cannot run jobs safely, or not at all, without a traceback."""
    from worker.devices import NoDeviceError  # noqa: PLC0415 - each command loads only what it needs
    from worker.endings import OtherVersion  # noqa: PLC0415
    from worker.sandbox.proof import SandboxError  # noqa: PLC0415
    from worker.users import NoChildUsersError  # noqa: PLC0415
    from worker.workdir import WorkDirError  # noqa: PLC0415

    try:
        yield
    except (
        NoChildUsersError, NoDeviceError, OtherVersion, SandboxError, TracingUnavailableError, WorkDirError,
    ) as refusal:  # fmt: skip
        typer.echo(str(refusal), err=True)
        raise typer.Exit(1) from None


def _settings() -> WorkerSettings:
    settings = WorkerSettings()
    configure_logging(settings.log_level)
    logging.captureWarnings(capture=True)
    return settings


if __name__ == "__main__":
    app(prog_name="python -m worker")
