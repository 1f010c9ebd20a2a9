"""The application: ``uvicorn --factory api.app:create_app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api import handlers, health, schemas
from api.errors import ProblemView
from api.jobs import endpoints as jobs
from api.middleware import LingerMiddleware, RequestLogMiddleware, TraceMiddleware
from api.services import Services, build
from api.settings import ApiSettings
from ladder_jobs import tracing
from ladder_jobs.exposition import exposing
from ladder_jobs.logs import configure_logging
from ladder_schema.report import Report

log = structlog.get_logger(__name__)


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Build the API.

    Args:
        settings: Its settings. Without, this is the entry point: they are read from the environment, and the
            process logs as JSON, and sends traces where that is configured.
    """
    if settings is None:
        settings = ApiSettings()
        configure_logging(settings.log_level)
        tracing.configure_tracing(settings.traces_endpoint, "ladder-api")
    app = _App(
        title="LADDER",
        summary="Model hardening as a service.",
        description="Post an image classifier and a labelled dataset; download the hardened model, its "
        "weights, adversarial examples, and a robustness report.",
        version=version("ladder-hardening"),
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.state.services = build(settings)
    app.include_router(jobs.router)
    app.include_router(health.router)
    app.include_router(schemas.router)
    handlers.install(app)
    app.add_middleware(LingerMiddleware)
    app.add_middleware(RequestLogMiddleware)
    if tracing.is_tracing():
        app.add_middleware(TraceMiddleware)
    return app


class _App(FastAPI):
    """Adds to the description what routes answer without FastAPI knowing: problems and reports."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            known = super().openapi()["components"]["schemas"]
            _, extra = models_json_schema(
                [(ProblemView, "serialization"), (Report, "serialization")],
                ref_template="#/components/schemas/{model}",
            )
            for name, schema in extra["$defs"].items():
                known.setdefault(name, schema)
        return super().openapi()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    store = await services.probes["object_store"].look()
    if store.status != "ok":
        # Not fatal: /readyz tells, tries again, and the API works as soon as the store does.
        log.warning("object store not ready", error=store.error)
    try:
        with exposing(services.settings.metrics_listen):
            yield
    finally:
        services.engine.dispose()
        services.celery.close()
