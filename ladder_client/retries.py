"""Trying again what may work later: a service that restarts is no reason to lose a job's result."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import httpx

from ladder_client.errors import UnreachableError

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 3.0
# Answers of a service, or a proxy before it, that is on its way up or down.
_PASSING = frozenset({502, 503, 504})

T = TypeVar("T")


class PassingFaultError(Exception):
    """The answer says to come back later.

    Attributes:
        response: The answer, read to its end.
    """

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"HTTP status {response.status_code}")
        self.response = response


def is_passing(response: httpx.Response) -> bool:
    """Whether the same request may succeed later."""
    return response.status_code in _PASSING


def delays() -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling, up to a few seconds."""
    delay = _FIRST_DELAY
    while True:
        yield delay
        delay = min(2 * delay, _LONGEST_DELAY)


def persist(attempt: Callable[[], T], patience: float) -> T:
    """Call ``attempt`` until it neither loses the connection nor is told to come back.

    Args:
        attempt: Must do no harm when repeated.
        patience: Seconds after which no further attempt is made.

    Raises:
        UnreachableError: The connection failed at the last attempt too.
        httpx.UnsupportedProtocol: The URL is none of HTTP; that will not change.
        PassingFaultError: The last attempt was told to come back later.
    """
    deadline = time.monotonic() + patience
    for delay in delays():
        try:
            return attempt()
        except httpx.UnsupportedProtocol:
            raise
        except (httpx.TransportError, PassingFaultError) as error:
            if time.monotonic() + delay > deadline:
                if isinstance(error, httpx.TransportError):
                    raise UnreachableError(f"{_target(error)} does not answer: {error}") from error
                raise
            time.sleep(delay)
    raise AssertionError("delays() never ends")


def _target(error: httpx.TransportError) -> str:
    url = error.request.url
    return f"{url.scheme}://{url.netloc.decode()}"
