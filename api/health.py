"""Is the process alive, and can it work?"""

import time
from collections.abc import Callable
from typing import Annotated, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Response
from kombu.exceptions import OperationalError as BrokerError
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.errors import documented
from api.services import Services, Use
from ladder_jobs.objects import StoreError
from ladder_jobs.wakeups import ping_broker

router = APIRouter(tags=["health"], responses=documented())


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Dependency(BaseModel):
    """How a server the API needs is doing."""

    status: Literal["ok", "down"]
    seconds: float = Field(description="How long it took to find out.")
    error: str | None = Field(None, description="What went wrong, without addresses or passwords.")


class Readiness(BaseModel):
    """Whether jobs can be taken and results served."""

    status: Literal["ok", "down"]
    dependencies: dict[Literal["database", "broker", "object_store"], Dependency]


@router.get("/healthz", summary="Is the process alive?")
async def alive() -> Alive:
    """Answers without asking any other server."""
    return Alive()


async def _readiness(services: Use) -> Readiness:
    checks: dict[Literal["database", "broker", "object_store"], Callable[[], None]] = {
        "database": lambda: _ask_database(services),
        "broker": lambda: ping_broker(services.celery),
        # Not just a look: a store that was down when this process started may still want its bucket.
        "object_store": services.store.ensure_bucket,
    }
    found: dict[Literal["database", "broker", "object_store"], Dependency] = {}

    async def look(name: Literal["database", "broker", "object_store"]) -> None:
        found[name] = await _look(checks[name], services.settings.ready_seconds)

    async with anyio.create_task_group() as group:
        for name in checks:
            group.start_soon(look, name)
    ready = all(dependency.status == "ok" for dependency in found.values())
    return Readiness(status="ok" if ready else "down", dependencies={name: found[name] for name in checks})


@router.get(
    "/readyz",
    summary="Can it work?",
    responses={503: {"model": Readiness, "description": "A server the API needs is down"}},
)
async def ready(readiness: Annotated[Readiness, Depends(_readiness)], response: Response) -> Readiness:
    """Asks the database, the broker and the object store, for a bounded time."""
    response.status_code = 200 if readiness.status == "ok" else 503
    return readiness


async def _look(check: Callable[[], None], seconds: float) -> Dependency:
    began = time.perf_counter()
    error: str | None = "no answer in time"
    with anyio.move_on_after(seconds):
        # Abandoned rather than awaited: a thread stuck on a silent server must not hold up the answer.
        error = await anyio.to_thread.run_sync(_error_of, check, abandon_on_cancel=True)
    return Dependency(
        status="down" if error else "ok", seconds=round(time.perf_counter() - began, 4), error=error
    )


def _error_of(check: Callable[[], None]) -> str | None:
    try:
        check()
    except (SQLAlchemyError, BrokerError, StoreError) as error:
        return type(error).__name__
    return None


def _ask_database(services: Services) -> None:
    with services.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
