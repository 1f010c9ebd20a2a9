"""Orphans: what no row names goes once it is old enough, and nothing else ever does."""

import copy
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import inspect

from ladder_jobs import orphans
from ladder_jobs.claims import StoredArtifact, release, settle_succeeded
from ladder_jobs.database import connect
from ladder_jobs.deletions import deletions_held
from ladder_jobs.objects import ListedObject, ObjectStore, StoreError, attempt_key, upload_key
from ladder_jobs.orphans import Collected, collect_orphans, tables_naming_objects
from ladder_jobs.repository import create_job
from ladder_jobs.tables import Deletion
from ladder_schema.config import resolve_config
from ladder_schema.jobs import ArtifactName

HOUR = timedelta(hours=1)


class Store(ObjectStore):
    """A bucket of this test's own, whose clock the test may set."""

    time: datetime | None = None

    def now(self) -> datetime:
        return self.time or super().now()

    def put(self, key: str) -> str:
        self.put_stream(key, io.BytesIO(b"abc"))
        return key

    def begin(self, key: str) -> str:
        self._client._create_multipart_upload(self._bucket, key, {})
        return key

    def written_at(self, key: str) -> datetime:
        return next(self.list_objects(key)).written_at

    def keys(self) -> set[str]:
        return set(self.list_keys())

    def unfinished(self) -> set[str]:
        return {upload.key for upload in self.list_unfinished()}

    def wait_for_the_next_second(self) -> None:
        """Its stamps are of whole seconds."""
        before = super().now()
        while super().now() == before:
            pass


@pytest.fixture(scope="module")
def _bucket(settings) -> Iterator[Store]:
    # One for all of these tests: to SeaweedFS each bucket is several volumes.
    store = Store(settings.model_copy(update={"s3_bucket": f"orphans-{uuid4().hex}"}))
    store.ensure_bucket()
    yield store
    store._client.remove_bucket(store._bucket)


@pytest.fixture
def store(_bucket) -> Iterator[Store]:
    yield _bucket
    _bucket.time = None
    for key in list(_bucket.list_keys()):
        _bucket.delete(key)
    for upload in list(_bucket.list_unfinished()):
        _bucket.abort(upload)


@pytest.fixture
def collect(sessions, store):
    """Collect with a grace that is over for everything, unless told otherwise."""
    return lambda grace=-HOUR: collect_orphans(sessions, store, grace=grace)


def test_every_table_that_names_objects_is_asked(database_url):
    engine = connect(database_url)
    with engine.connect() as connection:
        look = inspect(connection)
        naming = {
            name
            for name in look.get_table_names()
            if "object_key" in {column["name"] for column in look.get_columns(name)}
        }
    engine.dispose()
    assert {table.name for table in tables_naming_objects()} == naming - {Deletion.__tablename__}
    assert naming >= {"uploads", "artifacts"}


def test_what_rows_name_stays_and_what_none_names_goes(jobs, alice, store, collect):
    queued = jobs.queue(alice, queue="cpu")
    jobs.queue(alice)
    claim = jobs.claimed()
    result, left = (attempt_key(claim.job_id, 1, name) for name in ("model.pt", "draft.pt"))
    artifact = StoredArtifact(ArtifactName.MODEL, result, 3, "0" * 64, "application/octet-stream")
    jobs.do(settle_succeeded, claim, [artifact])
    with jobs.sessions() as session:
        waiting = session.get_one(type(jobs.row(queued)), queued)
        named = {waiting.model_upload.object_key, claim.model.key, claim.dataset.key, result}
    for key in named:
        store.put(key)
    for key in (left, attempt_key(uuid4(), 1, "of a job that is gone"), upload_key(alice, uuid4())):
        store.put(key)
    assert collect() == Collected(seen=7, deleted=3)
    assert store.keys() == named
    assert collect() == Collected(seen=4)


def test_what_an_open_attempt_has_written_stays_until_it_ends(jobs, alice, store, collect):
    jobs.queue(alice)
    first = jobs.claimed()
    store.put(attempt_key(first.job_id, 1, "latents"))
    store.begin(attempt_key(first.job_id, 1, "model.pt"))
    assert collect() == Collected(seen=1)
    jobs.do(release, first, reason="stop", child_died=False, max_child_deaths=1)
    jobs.claimed()
    kept = store.put(attempt_key(first.job_id, 2, "latents"))
    of_the_job = store.put(f"jobs/{first.job_id}/log")
    assert collect() == Collected(seen=3, deleted=1, aborted=1)
    assert store.keys() == {kept, of_the_job}


@pytest.mark.parametrize("prefix", ["uploads", "jobs"])
def test_the_horizon_is_the_grace_by_the_stores_clock(alice, store, collect, prefix):
    old = store.put(f"{prefix}/{uuid4()}/old")
    store.wait_for_the_next_second()
    young = store.put(f"{prefix}/{uuid4()}/young")
    store.time = store.written_at(young) + HOUR  # this machine's clock says nothing of the kind
    assert collect(HOUR) == Collected(seen=2, deleted=1)
    assert store.keys() == {young}
    assert not store.exists(old)
    store.time += timedelta(seconds=1)
    assert collect(HOUR) == Collected(seen=1, deleted=1)


@pytest.mark.parametrize("prefix", ["uploads", "jobs"])
def test_unfinished_uploads_are_aborted_on_the_same_terms(alice, store, collect, prefix):
    store.begin(f"{prefix}/{uuid4()}/old")
    store.wait_for_the_next_second()
    young = store.begin(f"{prefix}/{uuid4()}/young")
    (started,) = [upload.started_at for upload in store.list_unfinished() if upload.key == young]
    store.time = started + HOUR
    assert collect(HOUR) == Collected(aborted=1)
    assert store.unfinished() == {young}
    store.time += timedelta(seconds=1)
    assert collect(HOUR) == Collected(aborted=1)
    assert store.unfinished() == set()


def test_the_default_grace_keeps_everything_young(alice, store, collect, settings):
    store.put(upload_key(alice, uuid4()))
    store.begin(upload_key(alice, uuid4()))
    assert collect(timedelta(seconds=settings.orphan_grace_seconds)) == Collected(seen=1)


@pytest.mark.parametrize(
    "key",
    ["elsewhere/x", "uploads/README", "jobs/x/attempts/1/y", "jobs/x", "uploadsx/y", f"jobs/{uuid4()}x/y"],
)
def test_keys_that_are_none_of_ours_stay(alice, store, collect, key):
    store.put(key)
    store.begin(key)
    found = collect()
    assert (found.deleted, found.aborted) == (0, 0)
    assert store.keys() == {key}
    assert store.unfinished() == {key}


def test_a_row_that_is_written_after_the_listing_is_seen(jobs, alice, sessions, store):
    """The API commits a job between the two looks: its uploads stay, however old they are."""
    model, dataset = jobs.new_upload(alice, "model"), jobs.new_upload(alice, "dataset")
    keys = {store.put(model.key), store.put(dataset.key)}

    class Hindered(Store):
        def list_objects(self, prefix: str = "") -> Iterator[ListedObject]:
            listed = list(super().list_objects(prefix))
            if prefix == "uploads/":
                jobs.do(
                    create_job, alice, config=resolve_config({}), model=model, dataset=dataset, queue="gpu"
                )
            yield from listed

    hindered = copy.copy(store)
    hindered.__class__ = Hindered
    assert collect_orphans(sessions, hindered, grace=-HOUR) == Collected(seen=2)
    assert store.keys() == keys


def test_however_many_there_are_a_page_is_looked_up_at_a_time(alice, store, collect, monkeypatch):
    monkeypatch.setattr(orphans, "PAGE", 2)
    sizes = []
    named = orphans._named
    monkeypatch.setattr(
        orphans, "_named", lambda session, keys: sizes.append(len(keys)) or named(session, keys)
    )
    for _ in range(5):
        store.put(upload_key(alice, uuid4()))
    assert collect() == Collected(seen=5, deleted=5)
    assert sizes == [2, 2, 1]


def test_a_backup_holds_what_would_be_deleted(database_url, alice, store, collect):
    key = store.put(upload_key(alice, uuid4()))
    engine = connect(database_url)
    with deletions_held(engine):
        assert collect() == Collected(seen=1, held=True)
    engine.dispose()
    assert store.keys() == {key}
    assert collect() == Collected(seen=1, deleted=1)


def test_an_outage_of_the_store_is_for_the_next_time(alice, sessions, settings):
    away = ObjectStore(settings.model_copy(update={"s3_endpoint": "127.0.0.1:1"}))
    with pytest.raises(StoreError):
        collect_orphans(sessions, away, grace=HOUR)


def test_the_store_tells_its_own_time_and_leaves_no_trace(store):
    marked = store.put("tests/mark")
    assert timedelta(0) <= store.now() - store.written_at(marked) < HOUR
    assert store.keys() == {marked}
