"""How long the service keeps what a job needed and made, counted from the job's end by Postgres' clock.

Each kind expires in batches: the commit that takes the rows writes down the objects for deletion, and an
index has the jobs whose turn it is at its front, however many there are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from ladder_jobs.deletions import lock_uploads, remove_jobs, write_down
from ladder_jobs.objects import job_prefix
from ladder_jobs.orphans import tables_naming_objects
from ladder_jobs.settings import Settings
from ladder_jobs.tables import Job, Upload


@dataclass(frozen=True)
class Retention:
    """How long each kind is kept after the job's end; None is for ever."""

    uploads: timedelta | None = None
    artifacts: timedelta | None = None
    jobs: timedelta | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            uploads=_days(settings.upload_retention_days),
            artifacts=_days(settings.artifact_retention_days),
            jobs=_days(settings.job_retention_days),
        )

    def results_expire_at(self, job: Job) -> datetime | None:
        """When what the job made is given up; None where it is kept, or where the job has not ended."""
        kept = self.artifacts or self.jobs
        return job.finished_at + kept if job.finished_at and kept else None


@dataclass(frozen=True)
class Expired:
    """Of how many jobs something expired."""

    uploads: int
    artifacts: int
    jobs: int

    @property
    def most(self) -> int:
        """The largest of the numbers: a whole batch means that there may be more."""
        return max(self.uploads, self.artifacts, self.jobs)


def expire(session: Session, retention: Retention, *, limit: int) -> Expired:
    """Give up what was kept long enough; two processes at once each take other jobs.

    Args:
        session: The caller's transaction.
        retention: How long to keep what.
        limit: How many jobs at most, of each kind.
    """
    return Expired(
        jobs=_expire_jobs(session, retention.jobs, limit),
        artifacts=_expire_artifacts(session, retention.artifacts, limit),
        uploads=_expire_uploads(session, retention.uploads, limit),
    )


def _expire_jobs(session: Session, kept: timedelta | None, limit: int) -> int:
    jobs = _ended(session, kept, limit)
    if jobs:
        remove_jobs(session, jobs)
    return len(jobs)


def _expire_artifacts(session: Session, kept: timedelta | None, limit: int) -> int:
    """Everything under the job's prefix goes, and so do the rows that name any of it."""
    jobs = _ended(session, kept, limit, Job.artifacts_expired_at.is_(None))
    ids = [job.id for job in jobs]
    if ids:
        for table in tables_naming_objects():
            if "job_id" in table.c:
                session.execute(delete(table).where(table.c.job_id.in_(ids)))
        session.execute(update(Job).where(Job.id.in_(ids)).values(artifacts_expired_at=func.now()))
        write_down(session, map(job_prefix, ids))
    return len(jobs)


def _expire_uploads(session: Session, kept: timedelta | None, limit: int) -> int:
    """An upload goes with the last of the jobs that use it."""
    jobs = _ended(session, kept, limit, Job.uploads_expired_at.is_(None))
    if jobs:
        uploads = lock_uploads(session, jobs)
        ids = [job.id for job in jobs]
        session.execute(update(Job).where(Job.id.in_(ids)).values(uploads_expired_at=func.now()))
        needed = exists().where(
            or_(Job.model_upload_id == Upload.id, Job.dataset_upload_id == Upload.id),
            Job.uploads_expired_at.is_(None),
        )
        keys = session.scalars(
            update(Upload)
            .where(Upload.id.in_(uploads), Upload.expired_at.is_(None), ~needed)
            .values(expired_at=func.now())
            .returning(Upload.object_key)
            .execution_options(synchronize_session=False)
        ).all()
        write_down(session, keys)
    return len(jobs)


def _ended(
    session: Session, kept: timedelta | None, limit: int, *conditions: ColumnElement[bool]
) -> list[Job]:
    """Lock jobs that ended longer ago than something is kept, the oldest first."""
    if kept is None:
        return []
    query = (
        select(Job)
        # The first is for the planner: partial indices have the jobs that ended.
        .where(Job.finished_at.is_not(None), Job.finished_at < func.now() - kept, *conditions)
        .order_by(Job.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query))


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)
