"""What must be true after every crash, read from rows, objects and processes."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import torch
from sqlalchemy import select

from ladder_jobs.deletions import delete_objects
from ladder_jobs.objects import job_prefix
from ladder_jobs.orphans import collect_orphans
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import AttemptLog
from ladder_schema.jobs import ArtifactName, JobStatus
from tests.worker.conftest import Bench
from worker.workspace import remove_abandoned


def assert_published_once(bench: Bench, job_id: UUID, directory: Path) -> dict[ArtifactName, Path]:
    """One attempt succeeded, its results are the ones that are published, and nothing else is left.

    Args:
        bench: Where the job ran.
        job_id: Which.
        directory: Takes the results.

    Returns:
        Where the results are now.
    """
    job = bench.job(job_id)
    assert job.status is JobStatus.SUCCEEDED
    attempts = bench.attempts(job_id)
    assert [a.number for a in attempts if a.outcome is Outcome.SUCCEEDED] == [job.attempt]
    assert all(attempt.outcome is not None for attempt in attempts)
    assert [e.kind for e in bench.events(job_id)].count(EventKind.SUCCEEDED) == 1
    assert {artifact.name for artifact in job.artifacts} == set(ArtifactName)
    files = {}
    for artifact in job.artifacts:
        assert artifact.object_key.startswith(f"jobs/{job_id}/attempts/{job.attempt}/")
        files[artifact.name] = directory / f"{job_id}-{artifact.name}"
        stored = bench.store.get_to_file(artifact.object_key, files[artifact.name])
        assert (stored.bytes, stored.sha256) == (artifact.bytes, artifact.sha256)
    assert_nothing_is_left(bench, job_id)
    return files


def outcomes(bench: Bench, job_id: UUID) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in bench.attempts(job_id)]


def assert_nothing_is_left(bench: Bench, job_id: UUID) -> None:
    """No process, no file, and after collection no object of the job but what is published and its logs."""
    bench.wait_until(lambda: not bench.child_pids(job_id), seconds=5)

    def has_no_files() -> bool:
        """A worker clears up after the commit that ended its job; for a dead one the next does."""
        remove_abandoned(bench.settings.work_dir)
        return not (bench.settings.work_dir / str(job_id)).exists()

    bench.wait_until(has_no_files, seconds=10)
    published = {artifact.object_key for artifact in bench.job(job_id).artifacts}
    with bench.sessions() as session:
        logs = set(session.scalars(select(AttemptLog.object_key).where(AttemptLog.job_id == job_id)))
    collect_garbage(bench)
    assert set(bench.store.list_keys(job_prefix(job_id))) == published | logs


def collect_garbage(bench: Bench) -> None:
    """Delete what housekeeping deletes, without its grace."""
    with bench.sessions.begin() as session:
        delete_objects(session, bench.store, limit=1_000)
    collect_orphans(bench.sessions, bench.store, grace=timedelta(0))


def assert_hardened(model: Path) -> None:
    """The published model is a classifier of digits."""
    hardened = torch.jit.load(str(model))
    assert hardened(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
