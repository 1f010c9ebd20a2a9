"""The users: each posts a job when its time has come, waits for it, and downloads what came of it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from examples import digits
from ladder_client import Client
from ladder_schema.jobs import ArtifactName
from ladder_schema.report import Report

# The real pipeline on small data: some 20 seconds of one core.
CONFIG: dict[str, Any] = {
    "preset": "quick",
    "threat_model": {"epsilon": 0.1},
    "boundary": {"steps": 100},
    "generator": {"steps": 200},
    "retraining": {"epochs": 20},
    "evaluation": {"max_samples": 300, "pgd_steps": 40},
}

# A user bears with a service whose database, store and API are all being killed.
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Result:
    """What a user has at the end: every artifact, whole, and of the job that was posted."""

    number: int
    job_id: UUID
    seconds: float
    artifacts: frozenset[ArtifactName]
    is_of_this_job: bool


class Users:
    """Posts jobs at even intervals and sees each through.

    Args:
        url: The service's.
        api_key: Theirs.
        directory: Takes uploads and results.
        jobs: How many.
        over_seconds: From the first post to the last.
        give_up_seconds: How long a user waits for a job.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        directory: Path,
        *,
        jobs: int,
        over_seconds: float,
        give_up_seconds: float,
    ) -> None:
        self._url, self._api_key, self._directory = url, api_key, directory
        self._pauses = [over_seconds * number / max(jobs - 1, 1) for number in range(jobs)]
        self._give_up_seconds = give_up_seconds
        self._leaving = threading.Event()
        self.posted: list[UUID] = []

    @contextmanager
    def at_work(self) -> Iterator[list[Future[Result]]]:
        """Let them all begin; leaving sends home who still waits to post."""
        model, dataset = digits.make(self._directory / "uploads")
        with ThreadPoolExecutor(len(self._pauses)) as pool:
            try:
                yield [
                    pool.submit(self._use, number, pause, model, dataset)
                    for number, pause in enumerate(self._pauses)
                ]
            finally:
                self._leaving.set()

    def _use(self, number: int, pause: float, model: Path, dataset: Path) -> Result:
        if self._leaving.wait(pause):
            raise InterruptedError("the run was broken off before this job was posted")
        with Client(self._url, self._api_key, patience=PATIENCE_SECONDS) as client:
            started = time.monotonic()
            job = client.submit(model, dataset, {**CONFIG, "seed": number})
            self.posted.append(job.id)
            client.wait(job.id, timeout=self._give_up_seconds)
            seconds = time.monotonic() - started
            files = client.download_all(job.id, self._directory / "results" / str(number))
        report = Report.model_validate_json(files[ArtifactName.REPORT].read_bytes())
        return Result(number, job.id, seconds, frozenset(files), report.config.seed == number)
