"""What the routes work with, built once per process from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from celery import Celery
from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from api.intake.submission import Intake
from api.probes import DependencyName, Probe, probes
from api.settings import ApiSettings
from ladder_jobs.database import connect, session_factory
from ladder_jobs.objects import ObjectStore
from ladder_jobs.retention import Retention
from ladder_jobs.wakeups import celery_app


@dataclass(frozen=True)
class Services:
    """The API's connections; none of them is opened before it is needed."""

    settings: ApiSettings
    engine: Engine
    sessions: sessionmaker[Session]
    store: ObjectStore
    celery: Celery
    intake: Intake
    probes: Mapping[DependencyName, Probe]
    retention: Retention


def build(settings: ApiSettings) -> Services:
    """Prepare the connections."""
    engine = connect(settings.database_url.get_secret_value())
    sessions = session_factory(engine)
    store = ObjectStore(settings)
    celery = celery_app(settings)
    return Services(
        settings=settings,
        engine=engine,
        sessions=sessions,
        store=store,
        celery=celery,
        intake=Intake(settings, store),
        probes=probes(settings, sessions, celery),
        retention=Retention.of(settings),
    )


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


Use = Annotated[Services, Depends(_services)]
"""What a route asks for to get the services."""
