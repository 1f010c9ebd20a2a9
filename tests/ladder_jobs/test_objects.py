"""The object store, on the real one."""

import hashlib
import os
from uuid import uuid4

import pytest

from ladder_jobs.objects import (
    PART_BYTES,
    ObjectMissingError,
    ObjectStore,
    StoreError,
    attempt_key,
    upload_key,
)


class Trickle:
    """A reader that answers with less than asked for, and may break on the way."""

    def __init__(self, content: bytes, *, breaks_at: int | None = None) -> None:
        self._content = content
        self._at = 0
        self._breaks_at = breaks_at

    def read(self, size: int = -1, /) -> bytes:
        if self._breaks_at is not None and self._at >= self._breaks_at:
            raise ConnectionResetError
        piece = self._content[self._at : self._at + min(size, 100_003)]
        self._at += len(piece)
        return piece


@pytest.fixture
def key() -> str:
    return f"tests/{uuid4()}"


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 7])
def test_what_is_put_comes_back_and_is_hashed_on_the_way(store, key, tmp_path, size):
    content = os.urandom(size)
    stored = store.put_stream(key, Trickle(content))
    assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert store.get_to_file(key, tmp_path / "copy") == stored
    assert (tmp_path / "copy").read_bytes() == content
    store.delete(key)


@pytest.mark.parametrize("breaks_at", [0, 1, PART_BYTES + 1, 2 * PART_BYTES])
def test_an_upload_that_breaks_leaves_nothing(store, key, breaks_at):
    with pytest.raises(ConnectionResetError):
        store.put_stream(key, Trickle(os.urandom(2 * PART_BYTES + 1), breaks_at=breaks_at))
    assert not store.exists(key)
    unfinished = store._client._list_multipart_uploads(store._bucket, prefix=key)
    assert list(unfinished.uploads) == []


def test_a_file_round_trip(store, key, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"parameters")
    stored = store.put_file(key, tmp_path / "model.pt", media_type="application/zip")
    assert b"".join(store.open(key)) == b"parameters"
    assert b"".join(store.open(key, offset=2, length=3)) == b"ram"
    assert list(store.list_keys(key)) == [key]
    assert stored.bytes == 10
    with pytest.raises(FileExistsError):
        store.get_to_file(key, tmp_path / "model.pt")


def test_what_is_missing_is_said(store, key, tmp_path):
    assert not store.exists(key)
    store.delete(key)
    with pytest.raises(ObjectMissingError):
        store.open(key)
    with pytest.raises(ObjectMissingError):
        store.get_to_file(key, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_store_that_is_down_or_refuses_is_one_kind_of_error(settings):
    away = ObjectStore(settings.model_copy(update={"s3_endpoint": "127.0.0.1:1"}))
    stranger = ObjectStore(settings.model_copy(update={"s3_secret_key": type(settings.s3_secret_key)("no")}))
    for store in (away, stranger):
        with pytest.raises(StoreError):
            store.ensure_bucket()


def test_a_store_that_works_is_proved_and_left_as_it_was(store):
    before = set(store.list_keys("uploads/"))
    store.prove()
    assert set(store.list_keys("uploads/")) == before


def test_keys_say_whose_an_object_is():
    owner, thing = uuid4(), uuid4()
    assert upload_key(owner, thing) == f"uploads/{owner}/{thing}"
    assert attempt_key(thing, 2, "model.pt") == f"jobs/{thing}/attempts/2/model.pt"
