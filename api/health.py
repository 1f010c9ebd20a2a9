"""Is the process alive, and can it work?"""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from api.errors import documented
from api.probes import Dependency, DependencyName
from api.services import Use

router = APIRouter(tags=["health"], responses=documented())


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether jobs can be taken and results served."""

    status: Literal["ok", "down"]
    dependencies: dict[DependencyName, Dependency]


@router.get("/healthz", summary="Is the process alive?")
async def alive() -> Alive:
    """Answers without asking any other server."""
    return Alive()


async def _readiness(services: Use) -> Readiness:
    found = await asyncio.gather(*(probe.look() for probe in services.probes.values()))
    ready = all(dependency.status == "ok" for dependency in found)
    return Readiness(
        status="ok" if ready else "down", dependencies=dict(zip(services.probes, found, strict=True))
    )


@router.get(
    "/readyz",
    summary="Can it work?",
    responses={503: {"model": Readiness, "description": "A server the API needs is down"}},
)
async def ready(readiness: Annotated[Readiness, Depends(_readiness)], response: Response) -> Readiness:
    """Asks the database, the broker and the object store, for a bounded time and once a second at most."""
    response.status_code = 200 if readiness.status == "ok" else 503
    return readiness
