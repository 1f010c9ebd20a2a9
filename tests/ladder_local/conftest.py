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


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds; an exception means not yet."""
    deadline = time.monotonic() + seconds
    while True:
        error: Exception | None = None
        try:
            if condition():
                return
        except Exception as raised:
            error = raised
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds:g} s") from error
        time.sleep(0.05)
