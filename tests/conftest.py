"""Real servers for every test that wants them: started once, thrown away at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ladder_jobs.settings import Settings
from ladder_local.servers import LocalServers

pytest_plugins = ("tests.digits",)


@pytest.fixture(scope="session")
def servers() -> Iterator[LocalServers]:
    """The three servers, running; one that ``LADDER_*`` names a replacement for is not started."""
    # Not tmp_path_factory: as root its directory is closed to the account that Postgres runs as.
    directory = Path(tempfile.mkdtemp(prefix="ladder-tests-"))
    try:
        with LocalServers(directory, durable=False) as running:
            yield running
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def settings(servers: LocalServers) -> Settings:
    """Settings that reach the servers. The database is empty: migrate it where tables are needed."""
    return servers.settings


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The file ``mnist.npz`` that ``LADDER_TEST_MNIST`` names."""
    path = Path(os.environ.get("LADDER_TEST_MNIST", ""))
    if not path.is_file():
        pytest.skip("set LADDER_TEST_MNIST to the path of mnist.npz to run this test")
    return path
