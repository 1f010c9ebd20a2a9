"""Objects that no row names: what a crash between the store and the database left behind is deleted.

First the store is listed, then the rows are looked up, so a row that is written meanwhile is seen. What is
younger than a grace is left alone by the store's own clock: its row may still be on the way. So is what
belongs to an attempt that has not ended, and every key that is none of ours.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Table, select
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.deletions import may_delete
from ladder_jobs.objects import ListedObject, ObjectStore, UnfinishedUpload
from ladder_jobs.tables import Attempt, Base, Deletion

PAGE = 500
"""How many keys are looked up at a time: memory stays flat however many objects there are."""

_PREFIXES = ("uploads/", "jobs/")
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OURS = re.compile(rf"uploads/{_UUID}/.+|jobs/(?P<job>{_UUID})/(?:attempts/(?P<attempt>\d{{1,9}})/)?.+")

_Found = TypeVar("_Found", ListedObject, UnfinishedUpload)


@dataclass(frozen=True)
class Collected:
    """How much was looked at and removed.

    Attributes:
        seen: Objects listed.
        deleted: Objects deleted.
        aborted: Unfinished uploads aborted.
        held: Whether a backup held deletions, so that the rest stays for the next time.
    """

    seen: int = 0
    deleted: int = 0
    aborted: int = 0
    held: bool = False


class _HeldError(Exception):
    """A backup holds all deletions."""


def tables_naming_objects() -> tuple[Table, ...]:
    """Every table whose ``object_key`` keeps an object in the store."""
    doomed = Deletion.__table__
    return tuple(
        table for table in Base.metadata.sorted_tables if "object_key" in table.c and table is not doomed
    )


def collect_orphans(sessions: sessionmaker[Session], store: ObjectStore, *, grace: timedelta) -> Collected:
    """Delete objects that nothing names, and abort uploads that nobody finishes.

    Args:
        sessions: Of the database whose rows name objects.
        store: The object store.
        grace: How old an object has to be.

    Raises:
        StoreError: The store failed; what is left is for the next time.
        sqlalchemy.exc.SQLAlchemyError: So did the database.
    """
    horizon = store.now() - grace
    seen = deleted = aborted = 0
    try:
        for prefix in _PREFIXES:
            for page in _pages(store.list_objects(prefix)):
                seen += len(page)
                old = [found for found in page if found.written_at < horizon]
                deleted += _remove(sessions, old, _named, lambda found: store.delete(found.key))
            for uploads in _pages(store.list_unfinished(prefix)):
                stale = [found for found in uploads if found.started_at < horizon]
                aborted += _remove(sessions, stale, _of_open_attempts, store.abort)
    except _HeldError:
        return Collected(seen, deleted, aborted, held=True)
    return Collected(seen, deleted, aborted)


def _remove(
    sessions: sessionmaker[Session],
    candidates: Sequence[_Found],
    kept: Callable[[Session, Sequence[str]], set[str]],
    remove: Callable[[_Found], None],
) -> int:
    """Remove the candidates that are ours and that no row keeps.

    Returns:
        How many.
    """
    ours = [found for found in candidates if _OURS.fullmatch(found.key)]
    if not ours:
        return 0
    with sessions.begin() as session:
        if not may_delete(session):
            raise _HeldError
        keep = kept(session, [found.key for found in ours])
        doomed = [found for found in ours if found.key not in keep]
        for found in doomed:
            remove(found)
    return len(doomed)


def _named(session: Session, keys: Sequence[str]) -> set[str]:
    """Which of the keys a row names, or an open attempt may still come to name."""
    named = _of_open_attempts(session, keys)
    jobs = {job for job, _ in map(_attempt_of, keys) if job is not None}
    for table in tables_naming_objects():
        query = select(table.c.object_key).where(table.c.object_key.in_(keys))
        if "job_id" in table.c:
            # The primary keys begin with the job's id, which the key tells.
            query = query.where(table.c.job_id.in_(jobs))
        named.update(session.scalars(query))
    return named


def _of_open_attempts(session: Session, keys: Sequence[str]) -> set[str]:
    """Which of the keys belong to an attempt that has not ended; what is its whole job's counts as its."""
    jobs = {job for job, _ in map(_attempt_of, keys) if job is not None}
    query = select(Attempt.job_id, Attempt.number).where(Attempt.job_id.in_(jobs), Attempt.ended_at.is_(None))
    running = {row.job_id: row.number for row in session.execute(query)} if jobs else {}
    places = ((key, *_attempt_of(key)) for key in keys)
    return {key for key, job, number in places if job in running and number in {None, running[job]}}


def _attempt_of(key: str) -> tuple[UUID | None, int | None]:
    """Whose an object is: job and number of the attempt, each None where the key does not say."""
    match = _OURS.fullmatch(key)
    if match is None or match["job"] is None:
        return None, None
    return UUID(match["job"]), None if match["attempt"] is None else int(match["attempt"])


def _pages(found: Iterable[_Found]) -> Iterator[list[_Found]]:
    source = iter(found)
    while page := list(islice(source, PAGE)):
        yield page
