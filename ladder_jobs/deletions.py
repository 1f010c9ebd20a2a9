"""How a job is removed: its rows at once, its objects as soon as the store lets us.

The commit that removes the rows writes down what they named, and what is written down stays until the store
has deleted it. So a crash between the two loses nothing, and whoever deletes twice does no harm.
"""

from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from ladder_jobs.objects import ObjectStore, job_prefix
from ladder_jobs.tables import Deletion, Job, Upload
from ladder_schema.jobs import JobStatus

log = structlog.get_logger(__name__)


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
    uploads = (job.model_upload_id, job.dataset_upload_id)
    session.execute(delete(Job).where(Job.id == job_id))
    used = select(Job.id).where(or_(Job.model_upload_id == Upload.id, Job.dataset_upload_id == Upload.id))
    keys = session.scalars(
        delete(Upload)
        .where(Upload.id.in_(uploads), ~used.exists())
        .returning(Upload.object_key)
        .execution_options(synchronize_session=False)
    ).all()
    doomed = [{"object_key": key} for key in (job_prefix(job_id), *keys)]
    session.execute(insert(Deletion).values(doomed).on_conflict_do_nothing())
    return True


def delete_objects(session: Session, store: ObjectStore, *, limit: int) -> int:
    """Delete from the store what is written down; two processes at once each take other entries.

    Args:
        session: The caller's transaction; its commit strikes the entries off.
        store: The object store.
        limit: How many entries at most.

    Returns:
        How many entries were dealt with.

    Raises:
        StoreError: The store failed; every entry stays.
    """
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
