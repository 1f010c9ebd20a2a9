"""Turns whatever is raised into the one shape of :mod:`api.errors`."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.errors import (
    MEDIA_TYPE,
    BadRequest,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    Problem,
    ProblemView,
    Unavailable,
)
from api.fields import field_errors
from api.middleware import REQUEST_ID_HEADER, request_id
from ladder_jobs.objects import StoreError

log = structlog.get_logger(__name__)


def install(app: FastAPI) -> None:
    """Answer every error of the app with problem+json."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    for outage in (OperationalError, InterfaceError, PoolTimeoutError, StoreError):
        app.add_exception_handler(outage, _outage)
    app.add_exception_handler(Exception, _internal)


def respond(request: Request, problem: Problem) -> JSONResponse:
    """The problem as an HTTP answer."""
    view = ProblemView(
        type=f"urn:ladder:problem:{problem.kind}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        instance=request.url.path,
        request_id=request_id(request.scope),
        errors=problem.errors,
    )
    return JSONResponse(
        view.model_dump(mode="json"), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - tells the type checker what Starlette guarantees
    return respond(request, error)


def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    path = request.url.path
    if error.status_code == NotFound.status:
        return respond(request, NotFound(f"There is no {path}; /docs lists what there is."))
    if error.status_code == MethodNotAllowed.status:
        allowed = ", ".join(sorted(_methods(request)))
        return respond(
            request,
            MethodNotAllowed(f"{path} takes {allowed}, not {request.method}.", headers={"Allow": allowed}),
        )
    return respond(request, BadRequest(str(error.detail)))


def _methods(request: Request) -> set[str]:
    """What the path does take; the router's own answer names only the first route of several."""
    found: set[str] = set()
    for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found.add(method)
    return found


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return respond(request, Invalid(field_errors(error.errors())))


def _outage(request: Request, error: Exception) -> Response:
    """A server the API depends on is down: temporary, and not the caller's fault."""
    log.error("dependency failed", error=str(error), kind=type(error).__name__)
    what = "object store" if isinstance(error, StoreError) else "database"
    return respond(request, Unavailable(f"The {what} does not answer. Try again in a few seconds."))


def _gone(_request: Request, _error: Exception) -> Response:
    """The caller hung up, so nobody reads this answer; the status is for the log."""
    return Response(status_code=499)


def _internal(request: Request, _error: Exception) -> Response:
    """A fault of ours; this answer is made outside the middleware, so it sets the request id itself."""
    answer = respond(
        request, InternalError("The service failed. Try again; if it happens again, report the request id.")
    )
    answer.headers[REQUEST_ID_HEADER] = request_id(request.scope)
    return answer
