"""OpenTelemetry traces, of which nothing is imported and nothing done unless an endpoint is configured.

A job's trace begins with the request that posts it. The request's context is stored with the job, and each
attempt's with the attempt, so that the spans of workers continue the trace and name the attempts before.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer

log = structlog.get_logger(__name__)

Value = str | int | float | bool

_STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# What is left at a process's end is sent within this time or not at all: a stopped worker has to end, whether
# or not a collector listens.
_EXPORT_SECONDS = 2.0
_tracer: "Tracer | None" = None


class TracingUnavailableError(Exception):
    """Traces are wanted, and what makes them is not installed."""


def configure_tracing(endpoint: str | None, service: str) -> None:
    """Send this process's spans to a collector from now on, if one is configured.

    Args:
        endpoint: URL that takes OTLP over HTTP; None leaves it to OpenTelemetry's own variables.
        service: What the process calls itself.

    Raises:
        TracingUnavailableError: The packages are not installed.
    """
    global _tracer  # noqa: PLW0603 - as OpenTelemetry's own provider, one a process
    if endpoint is None and not any(os.environ.get(name) for name in _STANDARD_VARIABLES):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise TracingUnavailableError(
            f"traces have an endpoint, but {missing.name} is missing: "
            "pip install 'ladder-hardening[tracing]', or unset LADDER_TRACES_ENDPOINT and "
            f"{' and '.join(_STANDARD_VARIABLES)}"
        ) from missing
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_SECONDS))
    )
    _tracer = provider.get_tracer("ladder")
    log.info("tracing_started", service=service)


def is_tracing() -> bool:
    """Whether spans are made at all."""
    return _tracer is not None


def span(
    name: str,
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, Value] | None = None,
) -> AbstractContextManager[None]:
    """A span for as long as the context lasts, around all spans that begin within it.

    Args:
        name: What happens.
        parent: A ``traceparent`` to continue; by default the span around this one.
        links: Those of spans that have to do with this one.
        attributes: What more there is to say.
    """
    if _tracer is None:
        return nullcontext()
    return _span(_tracer, name, parent, links, attributes)


def begin(name: str, attributes: Mapping[str, Value] | None = None) -> Callable[[], None]:
    """Begin a span within the present one, around no other.

    Returns:
        What ends it.
    """
    if _tracer is None:
        return _nothing
    return _tracer.start_span(name, attributes=dict(attributes or {})).end


def describe(attributes: Mapping[str, Value], *, name: str | None = None, failed: bool = False) -> None:
    """Say more about the present span, or find a better name for it."""
    if _tracer is None:
        return
    from opentelemetry.trace import StatusCode, get_current_span  # noqa: PLC0415

    current: Span = get_current_span()
    current.set_attributes(dict(attributes))
    if name is not None:
        current.update_name(name)
    if failed:
        current.set_status(StatusCode.ERROR)


def traceparent() -> str | None:
    """The present span as a W3C ``traceparent``, for another process to continue."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str | None:
    """Id of the present trace, in hexadecimal."""
    parent = traceparent()
    return parent.split("-")[1] if parent else None


@contextmanager
def _span(
    tracer: "Tracer",
    name: str,
    parent: str | None,
    links: Iterable[str],
    attributes: Mapping[str, Value] | None,
) -> Iterator[None]:
    with tracer.start_as_current_span(
        name,
        context=_context(parent) if parent else None,
        links=_links(links),
        attributes=dict(attributes or {}),
    ):
        yield


def _context(parent: str) -> "Context":
    """What a ``traceparent`` says; one that makes no sense begins a trace of its own."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({"traceparent": parent}, context=Context())


def _links(parents: Iterable[str]) -> "list[Link]":
    from opentelemetry.trace import Link, get_current_span  # noqa: PLC0415

    return [Link(get_current_span(_context(parent)).get_span_context()) for parent in parents]


def _nothing() -> None:
    """End a span that nobody began."""
