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
    return _data_file("LADDER_TEST_MNIST", "mnist.npz")


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The file ``cifar10.zip``, image folders, that ``LADDER_TEST_CIFAR10`` names."""
    return _data_file("LADDER_TEST_CIFAR10", "cifar10.zip")


def _data_file(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable, ""))
    if not path.is_file():
        pytest.skip(f"set {variable} to the path of {name} to run this test")
    return path
