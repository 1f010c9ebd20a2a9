"""How a job is removed: its rows at once, its objects as soon as the store lets us.

The commit that removes the rows writes down what they named, and what is written down stays until the store
has deleted it. So a crash between the two loses nothing, and whoever deletes twice does no harm. A backup may
hold all deletions for as long as it copies the store.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog
from sqlalchemy import Engine, delete, exists, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ladder_jobs.database import be_patient
from ladder_jobs.objects import ObjectStore, job_prefix
from ladder_jobs.tables import Deletion, Job, Upload
from ladder_schema.jobs import JobStatus

log = structlog.get_logger(__name__)

# Any constant does, as long as nothing else in the same database takes it.
_HOLD = 0x1ADDE3


class JobNotFinalError(Exception):
    """A job that waits or runs cannot be removed.

    Args:
        status: Its state.
    """

    def __init__(self, status: JobStatus) -> None:
        super().__init__(f"the job is {status}")
        self.status = status


def delete_job(session: Session, owner_id: UUID, job_id: UUID) -> bool:
    """Remove the owner's job: its row, history, results, and the uploads that no other job uses.

    Returns:
        Whether there was such a job.

    Raises:
        JobNotFinalError: It has not ended.
    """
    job = session.scalar(select(Job).where(Job.id == job_id, Job.owner_id == owner_id).with_for_update())
    if job is None:
        return False
    if not job.status.is_final:
        raise JobNotFinalError(job.status)
    remove_jobs(session, [job])
    return True


def remove_jobs(session: Session, jobs: Sequence[Job]) -> None:
    """Remove jobs that have ended and whose rows the caller has locked."""
    ids, uploads = [job.id for job in jobs], lock_uploads(session, jobs)
    session.execute(delete(Job).where(Job.id.in_(ids)))
    used = exists().where(or_(Job.model_upload_id == Upload.id, Job.dataset_upload_id == Upload.id))
    keys = session.scalars(
        delete(Upload)
        .where(Upload.id.in_(uploads), ~used)
        .returning(Upload.object_key)
        .execution_options(synchronize_session=False)
    ).all()
    write_down(session, [*map(job_prefix, ids), *keys])


def lock_uploads(session: Session, jobs: Iterable[Job]) -> list[UUID]:
    """Lock the uploads of jobs, so that of two who give up the last users of one, the second knows it.

    Returns:
        Their ids.
    """
    ids = {upload_id for job in jobs for upload_id in (job.model_upload_id, job.dataset_upload_id)}
    return list(
        session.scalars(select(Upload.id).where(Upload.id.in_(ids)).order_by(Upload.id).with_for_update())
    )


def write_down(session: Session, keys: Iterable[str]) -> None:
    """Have objects deleted once this transaction is committed; a key with a slash at its end is a prefix."""
    if doomed := [{"object_key": key} for key in keys]:
        session.execute(insert(Deletion).values(doomed).on_conflict_do_nothing())


def delete_objects(session: Session, store: ObjectStore, *, limit: int) -> int:
    """Delete from the store what is written down; two processes at once each take other entries.

    Args:
        session: The caller's transaction; its commit strikes the entries off.
        store: The object store.
        limit: How many entries at most.

    Returns:
        How many entries were dealt with; none while a backup holds deletions.

    Raises:
        StoreError: The store failed; every entry stays.
    """
    if not may_delete(session):
        return 0
    entries = session.scalars(
        select(Deletion).order_by(Deletion.asked_at).limit(limit).with_for_update(skip_locked=True)
    ).all()
    for entry in entries:
        whole = entry.object_key.endswith("/")
        for key in store.list_keys(entry.object_key) if whole else (entry.object_key,):
            store.delete(key)
        session.delete(entry)
        log.info("object_deleted", key=entry.object_key)
    return len(entries)


def may_delete(session: Session) -> bool:
    """Whether objects may be deleted until the end of this transaction; a hold waits for that end.

    The transaction may wait for the store then: it holds no row of a job.
    """
    be_patient(session)
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock_shared(_HOLD))))


@contextmanager
def deletions_held(engine: Engine) -> Iterator[None]:
    """Keep every object that any row names in the store: for a backup, which copies rows before objects.

    The hold ends with the connection, so a backup that dies leaves none behind.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:hold)"), {"hold": _HOLD})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:hold)"), {"hold": _HOLD})
