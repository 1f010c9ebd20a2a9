"""What claims, heartbeats and sweeps cost with a long queue, on a Postgres of its own.

python -m benchmarks.queue [--jobs 10000] [--running 50] [--claims 400] > benchmarks/results/queue.md

The queue is filled anew for each number of owners, some of whom have jobs running; then one, then four
claimers take jobs as fast as they can. Each figure is a whole transaction, commit included.
"""

import argparse
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.managers import BarrierProxy
from pathlib import Path
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.claims import Claim, claim_job, heartbeat, sweep
from ladder_jobs.database import connect, migrate, session_factory
from ladder_local.servers import LocalServers
from ladder_schema.config import resolve_config

QUEUE = "gpu"
OWNERS = (1, 100, 2_000)
CLAIMERS = (1, 4)
SWEEPS = 20
WARM_UP = 20
SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def database() -> Iterator[str]:
    """A durable server with empty tables, thrown away at the end."""
    directory = Path(tempfile.mkdtemp(prefix="ladder-queue-"))
    try:
        with LocalServers(directory) as servers:
            url = servers.settings.database_url.get_secret_value()
            migrate(url)
            yield url
    finally:
        shutil.rmtree(directory)


def fill(session: Session, *, jobs: int, owners: int) -> None:
    """Queue jobs of so many owners in turn, with three priorities."""
    session.execute(text("TRUNCATE owners CASCADE"))
    session.execute(
        text("INSERT INTO owners (id, name) SELECT gen_random_uuid(), n FROM generate_series(1, :owners) n"),
        {"owners": owners},
    )
    session.execute(
        text(
            "INSERT INTO uploads (id, owner_id, kind, filename, object_key, bytes, sha256) "
            "SELECT gen_random_uuid(), id, kind, kind, kind || id, 1, '0' "
            "FROM owners, (VALUES ('model'), ('dataset')) AS kinds (kind)"
        )
    )
    session.execute(
        text(
            "INSERT INTO jobs (id, owner_id, queue, priority, status, progress, config, config_version, "
            "model_upload_id, dataset_upload_id, attempt, child_deaths, worker_losses, created_at) "
            "SELECT gen_random_uuid(), o.id, :queue, n % 3, 'queued', 0, CAST(:config AS jsonb), :version, "
            "m.id, d.id, 0, 0, 0, now() - n * interval '1 second' "
            "FROM generate_series(1, :jobs) n JOIN owners o ON o.name = (n % :owners + 1)::text "
            "JOIN uploads m ON m.owner_id = o.id AND m.kind = 'model' "
            "JOIN uploads d ON d.owner_id = o.id AND d.kind = 'dataset'"
        ),
        {
            "queue": QUEUE,
            "jobs": jobs,
            "owners": owners,
            "config": resolve_config({}).model_dump_json(),
            "version": resolve_config({}).schema_version,
        },
    )


def timed(times: list[float], call: Callable[[], object]) -> None:
    start = time.perf_counter()
    call()
    times.append((time.perf_counter() - start) * 1000)


def take(sessions: sessionmaker[Session], claims: int) -> tuple[list[float], list[Claim]]:
    """Milliseconds of each claim, and what was claimed."""
    times: list[float] = []
    taken: list[Claim] = []

    def one() -> None:
        with sessions.begin() as session:
            claim = claim_job(session, queue=QUEUE, worker=str(uuid4()), lease_seconds=3600)
        if claim is None:
            raise RuntimeError("the queue ran empty: queue more jobs")
        taken.append(claim)

    for _ in range(claims):
        timed(times, one)
    return times, taken


def claimer(url: str, go: BarrierProxy, claims: int) -> list[float]:
    """Claim in a process of its own, as workers are; the first few warm it up."""
    engine = connect(url)
    sessions = session_factory(engine)
    take(sessions, WARM_UP)
    go.wait()
    times, _ = take(sessions, claims)
    engine.dispose()
    return times


def measure(url: str, options: argparse.Namespace, owners: int) -> Iterator[str]:
    """Lines of the table for one number of owners."""
    sessions = session_factory(connect(url))
    for claimers in CLAIMERS:
        with sessions.begin() as session:
            fill(session, jobs=options.jobs + options.running, owners=owners)
        with sessions.begin() as session:
            session.execute(text("ANALYZE"))
        _, running = take(sessions, options.running)
        with multiprocessing.Manager() as manager, ProcessPoolExecutor(claimers, SPAWN) as pool:
            go = manager.Barrier(claimers)
            futures = [pool.submit(claimer, url, go, options.claims // claimers) for _ in range(claimers)]
            claims = [ms for future in futures for ms in future.result()]
        beats: list[float] = []
        for claim in running:
            timed(beats, lambda claim=claim: _beat(sessions, claim))
        sweeps: list[float] = []
        for _ in range(SWEEPS):
            timed(sweeps, lambda: _sweep(sessions))
        yield (
            f"| {owners:,} | {claimers} | {_at(claims, 50)} | {_at(claims, 99)} | {_at(beats, 99)} "
            f"| {max(sweeps):.1f} |"
        )


def _beat(sessions: sessionmaker[Session], claim: Claim) -> None:
    with sessions.begin() as session:
        heartbeat(session, claim, lease_seconds=3600)


def _sweep(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        sweep(session, max_worker_losses=10)


def _at(times: list[float], percent: int) -> str:
    return f"{statistics.quantiles(times, n=100, method='inclusive')[percent - 1]:.1f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs that are queued at the start")
    parser.add_argument("--running", type=int, default=50, help="jobs that are claimed before")
    parser.add_argument("--claims", type=int, default=400, help="claims that are timed")
    options = parser.parse_args()
    sys.stdout.write(
        f"# Claims from a long queue\n\n`python -m benchmarks.queue`: {options.jobs:,} jobs queued, at least "
        f"{options.running} running, {options.claims} claims of three priorities; {os.cpu_count()} cores "
        f"({platform.machine()}) shared by server and claimers, load average {os.getloadavg()[0]:.1f} at the "
        "start. Milliseconds of whole transactions, fsync on.\n\n"
        "| owners | claimers at once | claim p50 | claim p99 | heartbeat p99 | slowest sweep |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    with database() as url:
        for owners in OWNERS:
            for line in measure(url, options, owners):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
