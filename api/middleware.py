"""What surrounds every request: its id, its log line, and an answer that arrives even when we stop listening.

Plain ASGI, so that bodies stream through untouched.
"""

import re
import time
from uuid import UUID, uuid4

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from ladder_jobs import tracing

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINGER_SECONDS = 10.0
_MAX_PATH = 256
_UNTRACED = frozenset({"/healthz", "/readyz"})


def request_id(scope: Scope) -> str:
    """The id of the request, as the log has it."""
    found: str = scope.get("state", {}).get("request_id", "")
    return found


class RequestLogMiddleware:
    """Gives each request an id, the caller's own if it sent a decent one; logs and counts it.

    The line has neither headers nor the query, which is where secrets would be.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        identity = given if _GIVEN_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = identity
        status = 500
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = identity
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=identity):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - began
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"][:_MAX_PATH],
                    status=status,
                    seconds=round(seconds, 4),
                    **_job(scope),
                )
                metrics.count_request(scope["method"], _route(scope), status, seconds)


class TraceMiddleware:
    """Makes each request but the health checks a span, in the caller's trace if it names one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"]
        with tracing.span(method, parent=Headers(scope=scope).get("traceparent")):
            try:
                await self._app(scope, receive, watched_send)
            finally:
                route = _route(scope)
                tracing.describe(
                    {"http.request.method": method, "http.response.status_code": status, **_job(scope)}
                    | ({"http.route": route} if route else {}),
                    name=f"{method} {route}" if route else None,
                    failed=status >= 500,
                )


def _route(scope: Scope) -> str | None:
    """Template of the path; None where no route took it."""
    return getattr(scope.get("route"), "path", None)


def _job(scope: Scope) -> dict[str, str]:
    """The job that the path names, if it does."""
    try:
        return {"job": str(UUID(scope.get("path_params", {})["job_id"]))}
    except (KeyError, ValueError):
        return {}


class LingerMiddleware:
    """Lets a caller that is still sending its body read the answer that refuses it.

    A connection closed on unread bytes is reset, and the reset may overtake the answer. So after an early
    answer the rest of the body is received and thrown away for a while before the connection is closed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length")
        chunked = "transfer-encoding" in Headers(scope=scope)
        unread = chunked or length not in {None, "0"}

        async def watched_receive() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def lingering_send(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not (last and unread):
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(_LINGER_SECONDS):
                while unread:
                    await watched_receive()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, watched_receive, lingering_send)
