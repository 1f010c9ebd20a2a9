"""Reads a job's log; one that is followed goes on where a lost connection broke it."""

import time
from collections.abc import Iterator
from uuid import UUID

import httpx

from ladder_client.downloads import check
from ladder_client.retries import persist

_ATTEMPT_HEADER = "Ladder-Attempt"
_PAUSE_SECONDS = 0.5


def read(http: httpx.Client, job_id: UUID, attempt: int | None, patience: float) -> Iterator[bytes]:
    """The log as it stands.

    Raises:
        ApiError: The service refused.
        PassingFaultError: The service asks to come back later, and still does when patience has run out.
        UnreachableError: The service did not answer in all this time.
    """

    def get() -> httpx.Response:
        response = http.get(f"jobs/{job_id}/log", params={} if attempt is None else {"attempt": attempt})
        check(response)
        return response

    yield persist(get, patience).content


def follow(http: httpx.Client, job_id: UUID, attempt: int | None, patience: float) -> Iterator[bytes]:
    """The log until the job ends.

    Raises:
        ApiError: The service refused.
        PassingFaultError: The service asks to come back later, and still does when patience has run out.
        UnreachableError: The service did not answer in all this time.
    """
    reading = _Following(http, job_id, attempt)
    while True:
        yield from persist(reading.open, patience)
        if reading.is_over:
            return
        time.sleep(_PAUSE_SECONDS)


class _Following:
    """A stream that is opened again after a break, less what has come already."""

    def __init__(self, http: httpx.Client, job_id: UUID, attempt: int | None) -> None:
        self.is_over = False
        self._http = http
        self._path = f"jobs/{job_id}/log"
        self._attempt = attempt
        self._received = 0

    def open(self) -> Iterator[bytes]:
        """Ask for the rest.

        Returns:
            The bytes that come until the log ends or the connection breaks; ``is_over`` says which.
        """
        where = {} if self._attempt is None else {"attempt": self._attempt}
        params = {"follow": True, "skip": self._received, **where}
        request = self._http.build_request("GET", self._path, params=params)
        response = self._http.send(request, stream=True)
        try:
            check(response)
        except BaseException:
            response.close()
            raise
        # By the next time the latest attempt may be another one.
        said = response.headers.get(_ATTEMPT_HEADER, "")
        self._attempt = int(said) if said.isdecimal() else self._attempt
        return self._bytes(response)

    def _bytes(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            for chunk in response.iter_bytes():
                self._received += len(chunk)
                yield chunk
            self.is_over = True
        except httpx.TransportError:
            return
        finally:
            response.close()
