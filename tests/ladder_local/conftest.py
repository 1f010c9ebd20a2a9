"""Directories that the servers can use, and waiting for what happens elsewhere."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path_for_servers() -> Iterator[Path]:
    """A directory that Postgres' account can enter, which pytest's own are not when we are root."""
    path = Path(tempfile.mkdtemp(prefix="ladder-tests-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; an exception means not yet."""

    def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
                error: Exception | None = None
            except Exception as raised:
                error = raised
            if time.monotonic() > deadline:
                raise AssertionError(f"did not happen within {seconds:g} s") from error
            time.sleep(0.05)

    return wait
