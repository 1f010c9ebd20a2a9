"""Every hostile file against its wall: that very wall, its message, and nothing touched outside."""

import pytest

from ladder_core.datasets import load_dataset
from ladder_core.errors import HardeningError
from ladder_core.harm import DATASET_LIMITS, check_archive, check_model, load_checked_script
from tests.hostile.base import harmless, harmless_export, wall_of
from tests.hostile.table import BEFORE_LOADING, COMPILED, IMAGES


@pytest.fixture
def outside(tmp_path):
    """A directory that is not the work directory, with something worth stealing."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "secret").write_bytes(b"the secret")
    return directory


@pytest.fixture(autouse=True)
def nothing_happened(outside, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"the secret"
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("name", BEFORE_LOADING)
def test_a_wall_before_loading(name, tmp_path, outside):
    hostile = BEFORE_LOADING[name]
    path = tmp_path / "upload"
    hostile.make(path, outside)
    with pytest.raises(HardeningError) as caught:
        check_model(path) if hostile.of == "model" else check_archive(path, DATASET_LIMITS)
    error = caught.value
    assert (wall_of(error), error.code) == (hostile.wall, hostile.code), error.message
    assert hostile.words in error.message
    assert error.message.isprintable()


@pytest.mark.parametrize("name", COMPILED)
def test_the_wall_after_loading(name, tmp_path, outside):
    hostile = COMPILED[name]
    path = tmp_path / "upload"
    hostile.make(path, outside)
    with pytest.raises(HardeningError) as caught:
        load_checked_script(path)
    error = caught.value
    assert (wall_of(error), error.code) == (hostile.wall, hostile.code), error.message
    assert hostile.words in error.message


@pytest.mark.parametrize("name", IMAGES)
def test_the_wall_of_images(name, tmp_path, outside):
    hostile = IMAGES[name]
    path = tmp_path / "upload"
    hostile.make(path, outside)
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(HardeningError) as caught:
        load_dataset(path, cache, seed=0)
    assert (wall_of(caught.value), caught.value.code) == (hostile.wall, hostile.code)
    assert hostile.words in caught.value.message


@pytest.mark.parametrize("make", [harmless, harmless_export])
def test_what_the_attacks_dress_up_as_passes(make, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(make())
    check_model(path)
    path.unlink()
