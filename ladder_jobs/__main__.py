"""Administration: ``python -m ladder_jobs migrate | create-key | revoke-key | hold-deletions``."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from ladder_jobs import keys
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.deletions import deletions_held
from ladder_jobs.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Administer the database of a LADDER service.")


@app.command("migrate")
def migrate_command() -> None:
    """Bring the tables to this version's form."""
    migrate(Settings().database_url.get_secret_value())


@app.command("create-key")
def create_key_command(owner: Annotated[str, typer.Argument(help="Name of the key's owner.")]) -> None:
    """Make an API key and print it: the only time it can be seen."""
    with _transaction() as session:
        token = keys.create_key(session, owner)
    typer.echo(token)


@app.command("revoke-key")
def revoke_key_command(
    prefix: Annotated[str, typer.Argument(help="The key, or its first 15 characters.")],
) -> None:
    """Refuse an API key from now on."""
    with _transaction() as session:
        known = keys.revoke_key(session, prefix)
    if not known:
        typer.echo("no key begins like this", err=True)
        raise typer.Exit(1)


@app.command("hold-deletions", context_settings={"ignore_unknown_options": True})
def hold_deletions_command(
    command: Annotated[list[str], typer.Argument(help="What to run meanwhile: a backup.")],
) -> None:
    """Run a command during which nothing that a row names is deleted from the object store."""
    engine = connect(Settings().database_url.get_secret_value())
    try:
        with deletions_held(engine):
            code = subprocess.run(command, check=False).returncode  # noqa: S603 - the operator's own
    finally:
        engine.dispose()
    raise typer.Exit(code if code >= 0 else 128 - code)


@contextmanager
def _transaction() -> Iterator[Session]:
    engine = connect(Settings().database_url.get_secret_value())
    try:
        with session_factory(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


if __name__ == "__main__":
    app()
