"""Asking the servers the API depends on, so that no number of callers asks more than once at a time."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Literal

import anyio
import anyio.to_thread
import urllib3
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.settings import ApiSettings
from ladder_jobs.database import ping
from ladder_jobs.objects import ObjectStore, StoreError
from ladder_jobs.wakeups import ping_broker

DependencyName = Literal["database", "broker", "object_store"]

_FRESH_SECONDS = 1.0


class Dependency(BaseModel):
    """How a server the API needs is doing."""

    status: Literal["ok", "down"]
    seconds: float = Field(description="How long it took to find out.")
    error: str | None = Field(None, description="What went wrong, without addresses or passwords.")


class Probe:
    """One server's check. Whoever asks while it runs shares it; its answer holds for a second.

    So a server that falls silent costs one thread, of a limiter of its own, however often it is asked for.

    Args:
        check: Raises unless the server does its work; called in a thread.
        seconds: How long a check may take before its server counts as down.
    """

    def __init__(self, check: Callable[[], None], seconds: float) -> None:
        self._check = check
        self._seconds = seconds
        self._threads = anyio.CapacityLimiter(1)
        self._running: asyncio.Task[Dependency] | None = None
        self._began = 0.0
        self._stale_at = 0.0

    async def look(self) -> Dependency:
        """How the server is doing, within the seconds it has."""
        running = self._running
        if running is None or (running.done() and time.monotonic() >= self._stale_at):
            self._began = time.monotonic()
            running = self._running = asyncio.create_task(self._ask())
        left = self._began + self._seconds - time.monotonic()
        # Not cancelled when the time is up: the thread would go on, and the next check need another.
        await asyncio.wait({running}, timeout=max(0.0, left))
        if running.done():
            return running.result()
        return self._found("no answer in time")

    async def _ask(self) -> Dependency:
        try:
            # Abandoned only at the end of the process, which a stuck thread must not hold up.
            error = await anyio.to_thread.run_sync(self._error, abandon_on_cancel=True, limiter=self._threads)
        finally:
            self._stale_at = time.monotonic() + _FRESH_SECONDS
        return self._found(error)

    def _error(self) -> str | None:
        try:
            self._check()
        except (SQLAlchemyError, BrokerError, StoreError) as error:
            return type(error).__name__
        return None

    def _found(self, error: str | None) -> Dependency:
        seconds = round(time.monotonic() - self._began, 4)
        return Dependency(status="down" if error else "ok", seconds=seconds, error=error)


def probes(
    settings: ApiSettings, sessions: sessionmaker[Session], celery: Celery
) -> Mapping[DependencyName, Probe]:
    """A probe for each server the API needs."""
    seconds = settings.ready_seconds
    # Connections of its own: those for uploads and downloads wait long, and try again.
    impatient = urllib3.PoolManager(timeout=seconds, maxsize=1, retries=False)
    store = ObjectStore(settings, http=impatient)

    def ask_database() -> None:
        with sessions() as session:
            ping(session)

    return {
        "database": Probe(ask_database, seconds),
        "broker": Probe(lambda: ping_broker(celery), seconds),
        # Not just a look: a store that was down when this process started may still want its bucket.
        "object_store": Probe(store.ensure_bucket, seconds),
    }
