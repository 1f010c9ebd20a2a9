"""What must be true at the end, asked of the API, of Postgres and of the object store."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.chaos.load import Result
from ladder_jobs.deletions import delete_objects
from ladder_jobs.objects import ObjectStore
from ladder_jobs.orphans import collect_orphans, tables_naming_objects
from ladder_jobs.states import Outcome
from ladder_jobs.tables import Attempt, Job
from ladder_schema.jobs import ArtifactName, JobStatus

_EVERYTHING = 1_000_000


@dataclass(frozen=True)
class Row:
    """One job as Postgres knows it.

    Attributes:
        job_id: Its id.
        status: Its state.
        outcomes: How each of its attempts ended, in order.
        seconds: From its creation to its end.
    """

    job_id: UUID
    status: JobStatus
    outcomes: tuple[Outcome | None, ...]
    seconds: float


@dataclass(frozen=True)
class Marks:
    """The figures that decide; all but the first must be zero."""

    results: int
    lost: int
    duplicates: int
    mixed_up: int
    orphans: int

    def missed(self, jobs: int) -> list[str]:
        """What falls short, in words."""
        found = [] if self.results == jobs else [f"{self.results} results of {jobs} jobs"]
        rest = {
            "jobs lost": self.lost,
            "duplicates": self.duplicates,
            "results of another job": self.mixed_up,
            "orphans after collection": self.orphans,
        }
        return found + [f"{count} {name}" for name, count in rest.items() if count]


def read_rows(session: Session) -> list[Row]:
    """Every job there is, oldest first."""
    attempts: dict[UUID, list[Outcome | None]] = {}
    for attempt in session.scalars(select(Attempt).order_by(Attempt.job_id, Attempt.number)):
        attempts.setdefault(attempt.job_id, []).append(attempt.outcome)
    return [
        Row(job.id, job.status, tuple(attempts.get(job.id, ())), _seconds(job))
        for job in session.scalars(select(Job).order_by(Job.created_at))
    ]


def judge(results: Sequence[Future[Result]], rows: Sequence[Row], orphans: Sequence[str]) -> Marks:
    """Compare what the users have with what the service knows.

    A user's result counts when every artifact arrived with the size and SHA-256 that were announced. A
    duplicate is a job nobody posted, or one that more than one attempt published.
    """
    had = [future.result() for future in results if future.exception() is None]
    whole = {result.job_id for result in had if result.artifacts == frozenset(ArtifactName)}
    published = Counter({row.job_id: row.outcomes.count(Outcome.SUCCEEDED) for row in rows})
    return Marks(
        results=len(whole),
        lost=len(results) - len({row.job_id for row in rows if row.status is JobStatus.SUCCEEDED}),
        duplicates=max(0, len(rows) - len(results)) + sum(max(0, n - 1) for n in published.values()),
        mixed_up=sum(not result.is_of_this_job for result in had),
        orphans=len(orphans),
    )


def orphans_after_collection(sessions: sessionmaker[Session], store: ObjectStore) -> list[str]:
    """Keys of objects that no row names, once housekeeping's own means have been used, without its grace."""
    with sessions.begin() as session:
        delete_objects(session, store, limit=_EVERYTHING)
    collect_orphans(sessions, store, grace=timedelta(0))
    named: set[str] = set()
    with sessions() as session:
        for table in tables_naming_objects():
            named |= set(session.scalars(select(table.c.object_key)))
    return [key for prefix in ("uploads/", "jobs/") for key in store.list_keys(prefix) if key not in named]


def _seconds(job: Job) -> float:
    return (job.finished_at - job.created_at).total_seconds() if job.finished_at else float("nan")
