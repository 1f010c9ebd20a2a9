import pytest

from ladder_jobs.claims import UploadRef
from tests.worker.checks import StopAt, go_on
from worker.endings import InputLost, Interrupted
from worker.transfer import download, store_file

CONTENT = bytes(range(256)) * (3 << 12)  # 3 MiB, several chunks


@pytest.fixture
def stored(bench, tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    key = f"jobs/{bench.queue}/content"
    return store_file(bench.store, key, path, "application/zip", go_on)


def reference(stored, **changes) -> UploadRef:
    values = {"key": stored.key, "bytes": stored.bytes, "sha256": stored.sha256, "filename": "f"}
    return UploadRef(**{**values, **changes})


def test_what_was_stored_comes_back(bench, stored, tmp_path):
    download(bench.store, reference(stored), tmp_path / "model", go_on)
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_a_download_can_be_broken_off(bench, stored, tmp_path):
    with pytest.raises(Interrupted):
        download(bench.store, reference(stored), tmp_path / "model", StopAt(2))
    assert (tmp_path / "model").stat().st_size < len(CONTENT)


def test_an_upload_that_is_broken_off_leaves_no_object(bench, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(CONTENT)
    with pytest.raises(Interrupted):
        store_file(bench.store, f"jobs/{bench.queue}/model.pt", path, "application/zip", StopAt(2))
    assert list(bench.store.list_keys(f"jobs/{bench.queue}/")) == []


def test_a_file_that_grows_is_stored_as_it_was(bench, tmp_path):
    path = tmp_path / "checkpoint"
    path.write_bytes(CONTENT)
    with path.open("ab") as kept_open:
        stored = store_file(
            bench.store, f"jobs/{bench.queue}/c", path, "application/zip", lambda: kept_open.write(CONTENT)
        )
    assert path.stat().st_size > stored.bytes
    assert b"".join(bench.store.open(stored.key)) == CONTENT


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key": "uploads/nothing"}, "The uploaded dataset is gone"),
        ({"sha256": "0" * 64}, "The stored dataset is no longer"),
        ({"bytes": len(CONTENT) + 1}, "The stored dataset is no longer"),
        ({"bytes": 10}, "The stored dataset is no longer"),
    ],
)
def test_another_file_than_the_uploaded_one_is_refused(bench, stored, tmp_path, change, complaint):
    with pytest.raises(InputLost, match=complaint):
        download(bench.store, reference(stored, **change), tmp_path / "dataset", go_on)
