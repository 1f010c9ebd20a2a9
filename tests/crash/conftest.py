"""Whole workers on real servers, and small real inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ladder_jobs.settings import Settings
from tests.crash.cable import Cable
from tests.crash.fleet import Fleet
from tests.worker.conftest import Bench, bench, engine

__all__ = ["bench", "engine"]

# Every stage long enough to be met in it, and the whole short enough to be run many times.
SMALL = {
    "preset": "quick",
    "threat_model": {"epsilon": 0.1},
    "boundary": {"steps": 200},
    "generator": {"steps": 60},
    "retraining": {"epochs": 8},
    "evaluation": {"max_samples": 300, "pgd_steps": 60},
}


@dataclass(frozen=True)
class Digits:
    """A classifier of handwritten digits and its data, as a user posts them."""

    bench: Bench
    model: bytes
    dataset: bytes

    def submit(self, **config: Any) -> UUID:
        """Queue a hardening of it."""
        return self.bench.submit(model=self.model, dataset=self.dataset, **{**SMALL, **config})


@pytest.fixture
def fleet(bench: Bench, tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(bench, tmp_path)
    yield running
    running.close()


@pytest.fixture
def store_cable(settings: Settings) -> Iterator[Cable]:
    """The network between a program and the object store."""
    with Cable(settings.s3_endpoint) as cable:
        yield cable


@pytest.fixture
def digits(bench: Bench, digits_model: Path, digits_npz: Path) -> Digits:
    return Digits(bench, digits_model.read_bytes(), digits_npz.read_bytes())
