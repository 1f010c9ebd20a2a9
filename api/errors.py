"""Everything the API refuses, as one tree and one shape (RFC 9457, ``application/problem+json``).

::

    * Problem
      + BadRequest              400  a body or a cursor that cannot be read
      + Unauthorized            401  no key, or one that is unknown or revoked
      + NotFound                404  no such path; no such job of yours
      + MethodNotAllowed        405
      + UploadTimeout           408  the body stopped coming
      + Conflict                409  the job's state does not allow it
      + Gone                    410  a result that has expired
      + TooLarge                413  more bytes than are accepted
      + UnsupportedMediaType    415  not multipart/form-data
      + RangeNotSatisfiable     416  a range outside the file
      + Invalid                 422  understood, but not acceptable: says which field, why, and how to mend it
      + InternalError           500  our fault
      + Unavailable             503  a server we depend on is down, or we are full: try again later
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="Where, e.g. `config.retraining.alpha` or `model`.")
    value: str | int | float | bool | None = Field(None, description="What was given, when it is short.")
    message: str = Field(description="What is wrong with it.")
    remedy: str = Field(description="How to mend it.")


class ProblemView(BaseModel):
    """An error as RFC 9457 has it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Stable identifier of the kind of problem.")
    title: str = Field(description="The kind of problem, for people.")
    status: int = Field(description="The HTTP status, repeated.")
    detail: str = Field(description="What happened this time, and how to mend it.")
    instance: str = Field(description="Path of the request.")
    request_id: str = Field(description="Name this when asking for help.")
    errors: tuple[FieldError, ...] = Field((), description="Each thing that is wrong with the request.")


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """What the API answers instead of a result.

    Args:
        detail: What happened this time, and how to mend it.
        errors: The fields at fault, if any.
        headers: Further headers of the answer.
    """

    status: ClassVar[int]
    kind: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class BadRequest(Problem):
    """A body or a cursor that cannot be read."""

    status, kind, title = 400, "bad-request", "The request cannot be read"


class Unauthorized(Problem):
    """No API key, or one that is unknown or revoked."""

    status, kind, title = 401, "unauthorized", "A valid API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="ladder"'})


class NotFound(Problem):
    """No such path, or no such job of the caller's."""

    status, kind, title = 404, "not-found", "There is nothing here"


class MethodNotAllowed(Problem):
    """A known path, asked with a method it does not take."""

    status, kind, title = 405, "method-not-allowed", "This path does not take this method"


class UploadTimeout(Problem):
    """The body stopped coming."""

    status, kind, title = 408, "upload-timeout", "The upload stopped"


class Conflict(Problem):
    """The job's state does not allow what was asked."""

    status, kind, title = 409, "conflict", "The job's state does not allow this"


class Gone(Problem):
    """A result that has expired."""

    status, kind, title = 410, "gone", "This has expired and was removed"


class TooLarge(Problem):
    """More bytes than are accepted."""

    status, kind, title = 413, "too-large", "The upload is too large"


class UnsupportedMediaType(Problem):
    """A body of another type than multipart/form-data."""

    status, kind, title = 415, "unsupported-media-type", "The body is not multipart/form-data"


class RangeNotSatisfiable(Problem):
    """A range outside the file."""

    status, kind, title = 416, "range-not-satisfiable", "The range lies outside the file"


class Invalid(Problem):
    """A field that will not do."""

    status, kind, title = 422, "invalid", "The request is not acceptable"

    def __init__(self, errors: Iterable[FieldError]) -> None:
        errors = tuple(errors)
        super().__init__(
            " ".join(f"{error.field}: {error.message} {error.remedy}" for error in errors), errors=errors
        )

    @classmethod
    def field(cls, field: str, message: str, remedy: str) -> "Invalid":
        """Refuse one field."""
        return cls([FieldError(field=field, message=message, remedy=remedy)])


class InternalError(Problem):
    """A fault of the service."""

    status, kind, title = 500, "internal", "The service failed"


class Unavailable(Problem):
    """A server the API depends on is down, or the API is full."""

    status, kind, title = 503, "unavailable", "The service cannot do this now"

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` for the problems a route may answer with; any other has the same shape."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemView"}}}
    answers: dict[int | str, dict[str, Any]] = {
        problem.status: {"description": problem.title, "content": content} for problem in problems
    }
    return answers | {"default": {"description": "Any other problem", "content": content}}
