"""The service's API as Python methods."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ValidationError

from ladder_client import downloads
from ladder_client.errors import (
    ApiError,
    JobCancelled,
    JobFailed,
    NotFoundError,
    RejectedError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)
from ladder_client.retries import PassingFaultError, is_passing, persist
from ladder_schema.jobs import FILE_NAMES, ArtifactName, ArtifactView, JobPage, JobStatus, JobView

# Long where the service works before it answers: it stores an upload's last bytes, and checks them.
_TIMEOUT = httpx.Timeout(connect=10.0, read=300.0, write=300.0, pool=10.0)
_FIRST_POLL = 0.2
_LONGEST_POLL = 2.0

View = TypeVar("View", bound=BaseModel)


class Client:
    """A connection to a service; close it, or use it as a context manager.

    Every method repeats what it may repeat when the connection breaks or the service is restarting. All of
    them raise :class:`~ladder_client.errors.ClientError` and nothing else of the network's.

    Args:
        base_url: Where the service is, e.g. ``https://ladder.example.org``.
        api_key: Sent as a bearer token.
        patience: Seconds for which to bear a service that does not answer.
        transport: Replaces the network, in tests.

    Example:
        >>> with Client("http://127.0.0.1:8000", api_key) as client:  # doctest: +SKIP
        ...     job = client.submit(Path("model.pt"), Path("data.npz"), {"preset": "quick"})
        ...     client.download_all(client.wait(job.id).id, Path("results"))
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        patience: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = patience
        with _translated():
            self._http = httpx.Client(
                base_url=base_url,
                headers={"Authorization": f"Bearer {api_key}"},
                timeout=_TIMEOUT,
                transport=transport,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, model: Path, dataset: Path, config: dict[str, Any] | None = None) -> JobView:
        """Post a job. The files are streamed.

        Args:
            model: A TorchScript classifier.
            dataset: A labelled dataset: an npz, an archive of image folders, or Parquet.
            config: What should differ from the defaults.

        Raises:
            RejectedError: The service does not take the model, the dataset or the configuration.
        """
        form = {"config": json.dumps(config)} if config is not None else {}
        # With a key of its own a submission is safe to repeat: the service answers with the first job.
        headers = {"Idempotency-Key": str(uuid4())}

        def post() -> httpx.Response:
            with ExitStack() as opened:
                files = {
                    name: (path.name, opened.enter_context(path.open("rb")), "application/octet-stream")
                    for name, path in (("model", model), ("dataset", dataset))
                }
                return self._http.post("jobs", data=form, files=files, headers=headers)

        return _read(JobView, self._persist(post))

    def get(self, job_id: UUID) -> JobView:
        """The job as it stands.

        Raises:
            NotFoundError: There is none of yours with this id.
        """
        return _read(JobView, self._get(f"jobs/{job_id}"))

    def list(self, page_size: int = 50) -> Iterator[JobView]:
        """Your jobs, newest first; pages are fetched as they are needed."""
        path: str | None = f"jobs?limit={page_size}"
        while path:
            page = _read(JobPage, self._get(path))
            yield from page.items
            path = page.next and downloads.relative(page.next)

    def cancel(self, job_id: UUID) -> JobView:
        """Ask for the job to be cancelled; a running one takes a moment to stop.

        Raises:
            RejectedError: It is final already.
        """
        return _read(JobView, self._persist(lambda: self._http.post(f"jobs/{job_id}/cancel")))

    def delete(self, job_id: UUID) -> None:
        """Remove a job that has ended, with its history, its results and its uploads.

        Raises:
            NotFoundError: There is none of yours with this id.
            RejectedError: It has not ended; cancel it first.
        """
        self._persist(lambda: self._http.delete(f"jobs/{job_id}"))

    def wait(
        self,
        job_id: UUID,
        *,
        on_update: Callable[[JobView], None] | None = None,
        timeout: float | None = None,
    ) -> JobView:
        """Wait for the job to succeed.

        Args:
            job_id: Which.
            on_update: Told of the job at first, and whenever something about it changed.
            timeout: Seconds after which to give up; by default never.

        Raises:
            JobFailed: It failed.
            JobCancelled: It was cancelled.
            WaitTimeoutError: It was not final in time.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        seen: JobView | None = None
        pause = _FIRST_POLL
        while True:
            job = self.get(job_id)
            if job != seen:
                pause = _FIRST_POLL
                if on_update:
                    on_update(job)
            seen = job
            if job.status.is_final:
                return _succeeded(job)
            if deadline is not None and time.monotonic() + pause > deadline:
                raise WaitTimeoutError(f"job {job_id} is still {job.status} after {timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)

    def download(self, job_id: UUID, name: ArtifactName, path: Path) -> Path:
        """Download one result of a job into the file ``path``, which appears only when it is whole.

        Raises:
            NotFoundError: The job, or this result of it, does not exist.
            CorruptedDownloadError: What arrived is not what the job announced.
        """
        return self._download(_find(self.get(job_id), name), path)

    def download_all(self, job_id: UUID, directory: Path) -> dict[ArtifactName, Path]:
        """Download every result of a job into a directory, made when missing.

        Raises:
            CorruptedDownloadError: What arrived is not what the job announced.
        """
        directory.mkdir(parents=True, exist_ok=True)
        return {
            artifact.name: self._download(artifact, directory / FILE_NAMES[artifact.name])
            for artifact in self.get(job_id).artifacts
        }

    def _download(self, artifact: ArtifactView, path: Path) -> Path:
        with _translated():
            persist(lambda: downloads.fetch(self._http, artifact, path), self._patience)
        return path

    def _get(self, path: str) -> httpx.Response:
        return self._persist(lambda: self._http.get(path))

    def _persist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        def attempt() -> httpx.Response:
            response = send()
            if is_passing(response):
                raise PassingFaultError(response)
            return response

        with _translated():
            response = persist(attempt, self._patience)
            if not response.is_success:
                raise ApiError.of(response)
        return response


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the network layer raises into the errors of this package."""
    try:
        yield
    except PassingFaultError as fault:
        raise ApiError.of(fault.response) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnreachableError(str(error)) from error


def _read(view: type[View], response: httpx.Response) -> View:
    """What an answer says."""
    try:
        return view.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise UnexpectedAnswerError(
            f"{response.request.method} {response.url} answered with something else than a {view.__name__} "
            f"of this client's version ({where}: {first['msg']}). Is the URL the service's, and the client "
            "as new as the service?"
        ) from error


def _succeeded(job: JobView) -> JobView:
    if job.status is JobStatus.FAILED:
        raise JobFailed.of(job)
    if job.status is JobStatus.CANCELLED:
        raise JobCancelled.of(job)
    return job


def _find(job: JobView, name: ArtifactName) -> ArtifactView:
    for artifact in job.artifacts:
        if artifact.name is name:
            return artifact
    if job.expired_at is not None:
        raise RejectedError(
            410, {"detail": f"the results of job {job.id} expired and were removed at {job.expired_at}"}
        )
    raise NotFoundError(404, {"detail": f"job {job.id} is {job.status} and has no {name}"})
