"""Whoever posts a job while the service crashes under the upload has one job in the end, and whole."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ladder_client import Client
from ladder_jobs.keys import authenticate, create_key
from ladder_jobs.repository import list_jobs
from ladder_local.directory import free_port
from tests.crash.checks import collect_garbage
from tests.crash.fleet import killed


@pytest.fixture
def large_npz(tmp_path):
    """A dataset that takes several parts to store."""
    images = np.random.default_rng(0).integers(0, 256, (400_000, 8, 8), dtype=np.uint8)
    path = tmp_path / "large.npz"
    np.savez(path, x_train=images, y_train=np.arange(len(images)) % 10)
    return path


@pytest.fixture
def owner(bench):
    """A caller and the key to call with."""
    with bench.sessions.begin() as session:
        token = create_key(session, f"uploads-{bench.owner_id}")
        return authenticate(session, token).id, token


def assert_one_whole_job(bench, owner_id, job_id):
    with bench.sessions() as session:
        (job,) = list_jobs(session, owner_id, after=None, limit=10)
        assert job.id == job_id
        uploads = (job.model_upload, job.dataset_upload)
    collect_garbage(bench)
    assert set(bench.store.list_keys(f"uploads/{owner_id}/")) == {upload.object_key for upload in uploads}
    for upload in uploads:
        path = bench.settings.work_dir / str(upload.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = bench.store.get_to_file(upload.object_key, path)
        assert (stored.bytes, stored.sha256) == (upload.bytes, upload.sha256)


@pytest.mark.parametrize("victim", ["API", "object store"])
def test_an_upload_survives_a_kill(
    bench, fleet, servers, store_cable, owner, digits_model, large_npz, victim
):
    """The client sends all of it again, under the same idempotency key."""
    owner_id, token = owner
    port = free_port()
    api = fleet.api(port, s3_endpoint=store_cable.address)
    with Client(f"http://127.0.0.1:{port}", token) as client, ThreadPoolExecutor() as pool:
        store_cable.cut_after(16 << 20)
        posted = pool.submit(client.submit, digits_model, large_npz)
        assert store_cable.cut_reached.wait(60)
        if victim == "API":
            api.kill()
            store_cable.mend()
            fleet.api(port, s3_endpoint=store_cable.address)
        else:
            with killed(servers, "seaweedfs"):
                store_cable.mend()
        job = posted.result(120)
    assert_one_whole_job(bench, owner_id, job.id)
