"""A data directory is one of ours or a new one: nobody else's is touched."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ladder_local.directory import DataDirectory
from ladder_local.errors import DataDirectoryForeignError

PASSABLE = 0o711 if os.geteuid() == 0 else 0o700


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


@pytest.mark.usefixtures("_umask")
def test_a_new_directory_is_private_and_passable(tmp_path: Path) -> None:
    with DataDirectory(tmp_path / "deep" / "data") as directory:
        assert mode(directory.path) == PASSABLE
        assert mode(directory.logs) == 0o700


def test_a_directory_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "somebody's").write_text("work")
    with pytest.raises(DataDirectoryForeignError, match="choose another --data-dir"), DataDirectory(tmp_path):
        pass
    assert mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["somebody's"]


def test_a_directory_named_lock_makes_no_directory_ours(tmp_path: Path) -> None:
    """As in /var."""
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataDirectoryForeignError), DataDirectory(tmp_path):
        pass


def test_an_empty_directory_keeps_the_mode_somebody_gave_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with DataDirectory(tmp_path):
        assert mode(tmp_path) == 0o755


def test_an_empty_directory_of_our_own_is_opened_as_far_as_needed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with DataDirectory(tmp_path):
        assert mode(tmp_path) == PASSABLE


def test_a_second_start_keeps_a_changed_mode_and_the_secrets(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with DataDirectory(path) as directory:
        secret = directory.secret("word")
    path.chmod(0o750)
    (path / "more").write_text("data")
    with DataDirectory(path) as directory:
        assert directory.secret("word") == secret
        assert mode(path) == 0o750
