"""The ``ladder`` command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from ladder_client.client import Client
from ladder_client.errors import ClientError
from ladder_client.live import LiveProgress
from ladder_schema.jobs import JobView

app = typer.Typer(
    no_args_is_help=True,
    help="Harden image classifiers with a LADDER service.",
    pretty_exceptions_show_locals=False,
)
console = Console()

Url = Annotated[
    str, typer.Option("--url", envvar="LADDER_URL", help="Where the service is.", show_default=True)
]
Key = Annotated[str, typer.Option("--api-key", envvar="LADDER_API_KEY", help="Your API key.")]
JobId = Annotated[UUID, typer.Argument(metavar="ID", help="The job's id.")]
_DEFAULT_URL = "http://127.0.0.1:8000"


@app.command()
def submit(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The TorchScript classifier.")],
    dataset: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The labelled dataset.")],
    api_key: Key,
    url: Url = _DEFAULT_URL,
    config: Annotated[
        str | None, typer.Option(help="What should differ from the defaults: a JSON file, or JSON itself.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job, and show its progress.")] = False,
) -> None:
    """Post a job and print its id."""
    settings = _config(config)
    with _client(url, api_key) as client:
        job = client.submit(model, dataset, settings)
        typer.echo(job.id)
        if wait:
            _wait(client, job.id)


@app.command()
def jobs(
    api_key: Key,
    url: Url = _DEFAULT_URL,
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 20,
) -> None:
    """List your jobs, newest first."""
    table = Table("id", "status", "stage", "progress", "posted (UTC)")
    with _client(url, api_key) as client:
        for _, job in zip(range(limit), client.list(page_size=min(limit, 100)), strict=False):
            posted = job.created_at.astimezone(UTC)
            table.add_row(str(job.id), job.status, job.stage or "", f"{job.progress:.0%}", f"{posted:%F %T}")
    console.print(table)


@app.command()
def show(job_id: JobId, api_key: Key, url: Url = _DEFAULT_URL) -> None:
    """Print a job as JSON."""
    with _client(url, api_key) as client:
        typer.echo(client.get(job_id).model_dump_json(indent=2))


@app.command()
def wait(job_id: JobId, api_key: Key, url: Url = _DEFAULT_URL) -> None:
    """Wait for a job and show its progress; fails if the job does."""
    with _client(url, api_key) as client:
        _wait(client, job_id)


@app.command()
def download(
    job_id: JobId,
    api_key: Key,
    url: Url = _DEFAULT_URL,
    to: Annotated[Path, typer.Option(file_okay=False, help="Directory for the files.")] = Path(),
) -> None:
    """Download every result of a job."""
    with _client(url, api_key) as client:
        for path in client.download_all(job_id, to).values():
            typer.echo(path)


@app.command()
def logs(
    job_id: JobId,
    api_key: Key,
    url: Url = _DEFAULT_URL,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt. [default: the latest]")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends, through all attempts that come.")
    ] = False,
) -> None:
    """Print what the process that hardens the model has written, without control characters."""
    with _client(url, api_key) as client:
        for text in client.logs(job_id, attempt=attempt, follow=follow):
            typer.echo(text, nl=False)


@app.command()
def cancel(job_id: JobId, api_key: Key, url: Url = _DEFAULT_URL) -> None:
    """Cancel a job."""
    with _client(url, api_key) as client:
        typer.echo(client.cancel(job_id).status)


@app.command()
def delete(job_id: JobId, api_key: Key, url: Url = _DEFAULT_URL) -> None:
    """Remove a job that has ended, with its results and uploads."""
    with _client(url, api_key) as client:
        client.delete(job_id)


@app.command()
def serve(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where everything is kept. [default: .ladder; for root /var/lib/ladder]", file_okay=False
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address the API listens on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API. [default: 8000, or a free one]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many jobs run at a time.")] = 1,
) -> None:
    """Run the whole service on this machine, without Docker, until Ctrl-C."""
    try:
        # Here, not above: the bare installation is the client alone.
        from ladder_local.cli import serve as serve_locally  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise _failure(
            f"`ladder serve` needs more than the client ({missing.name} is missing): "
            "pip install 'ladder-hardening[local]'"
        ) from missing
    raise typer.Exit(serve_locally(data_dir, host, port, workers))


@contextmanager
def _client(url: str, api_key: str) -> Iterator[Client]:
    """A client whose errors end the command with their message instead of a traceback."""
    try:
        with Client(url, api_key) as client:
            yield client
    except (ClientError, OSError) as error:
        raise _failure(str(error)) from error


def _wait(client: Client, job_id: UUID) -> JobView:
    with LiveProgress(console) as live:
        return client.wait(job_id, on_update=live.show)


def _config(given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        config = json.loads(given if given.lstrip().startswith("{") else Path(given).read_text())
    except (OSError, ValueError) as error:
        raise _failure(f"--config is neither JSON nor a file of it: {error}") from error
    if not isinstance(config, dict):
        raise _failure("--config must be a JSON object")
    return config


def _failure(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(1)
