"""Which queued job is the best: highest priority, then the owner with fewest jobs running, then the oldest.

Two queries give the same answer. The one over heads reads a few rows from the front of an index, however long
the queue is; the one over all is for when other transactions hold every row of those.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import aliased

from ladder_jobs.states import LEASED_STATUSES
from ladder_jobs.tables import Job
from ladder_schema.config import SCHEMA_VERSION
from ladder_schema.jobs import JobStatus

# How many claimers may hold a job at the front before the next one has to look further.
_HEADS = 16


def best_of_heads(queue: str) -> Select[tuple[UUID]]:
    """The best job among the first of each kind of owner, locked.

    Nobody who has nothing running comes after somebody who has, at the same priority: so the oldest jobs of
    all idle owners together are enough, and of a busy owner only what has a higher priority than those.
    """
    load = _load()
    idle_job, busy_job, job = aliased(Job), aliased(Job), aliased(Job)
    idle = (
        select(idle_job.id, idle_job.priority)
        .where(is_claimable(idle_job, queue), idle_job.owner_id.not_in(select(load.c.owner_id)))
        .order_by(*_by_age(idle_job))
        .limit(literal_column(str(_HEADS)))
        .cte("idle")
        .prefix_with("MATERIALIZED")
    )
    reached = select(func.max(idle.c.priority)).scalar_subquery()
    of_owner = (
        select(busy_job.id)
        .where(
            is_claimable(busy_job, queue),
            busy_job.owner_id == load.c.owner_id,
            or_(reached.is_(None), busy_job.priority > reached),
        )
        .order_by(*_by_age(busy_job))
        .limit(literal_column(str(_HEADS)))
        .lateral()
    )
    heads = union_all(
        select(idle.c.id, literal_column("0").label("jobs")),
        select(of_owner.c.id, load.c.jobs).select_from(load).join(of_owner, true()),
    ).subquery()
    return (
        select(job.id)
        .join(heads, heads.c.id == job.id)
        .where(is_claimable(job, queue))
        .order_by(job.priority.desc(), heads.c.jobs, job.created_at, job.id)
        .limit(literal_column("1"))
        .with_for_update(of=job, skip_locked=True)
    )


def best_of_all(queue: str) -> Select[tuple[UUID]]:
    """The best job of the whole queue, locked."""
    load, job = _load(), aliased(Job)
    return (
        select(job.id)
        .outerjoin(load, load.c.owner_id == job.owner_id)
        .where(is_claimable(job, queue))
        .order_by(job.priority.desc(), func.coalesce(load.c.jobs, 0), job.created_at, job.id)
        .limit(literal_column("1"))
        .with_for_update(of=job, skip_locked=True)
    )


def is_claimable(job: type[Job], queue: str | ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a job waits in a queue for a worker of this version, and may be claimed now."""
    return and_(
        # A literal: Postgres must see it to use the index of the queued jobs in a prepared statement.
        job.status == literal_column(f"'{JobStatus.QUEUED}'"),
        job.queue == queue,
        job.config_version == literal_column(str(SCHEMA_VERSION)),
        job.not_before <= func.now(),
    )


def _by_age(job: type[Job]) -> tuple[ColumnElement[Any], ...]:
    return job.priority.desc(), job.created_at.asc(), job.id.asc()


def _load() -> CTE:
    """How many jobs each owner has running; counted once, not for each of the jobs that wait."""
    leased = aliased(Job)
    words = [literal_column(f"'{status}'") for status in JobStatus if status in LEASED_STATUSES]
    return (
        select(leased.owner_id, func.count().label("jobs"))
        .where(leased.status.in_(words))
        .group_by(leased.owner_id)
        .cte("load")
        .prefix_with("MATERIALIZED")
    )
