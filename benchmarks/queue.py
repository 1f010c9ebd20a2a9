"""What claims, heartbeats and sweeps cost with a long queue, on a Postgres of its own.

python -m benchmarks.queue [--jobs 10000] [--running 50] [--claims 400] > benchmarks/results/queue.md
python -m benchmarks.queue --plans [--owners 2000]

The queue is filled anew for each number of owners, some of whom have jobs running; then one, then four
claimers take jobs as fast as they can. Each figure is a whole transaction, commit included.

The kernel tells how long a process that could have run waited for a core, so a claim is also given without
the time that the claimer and its server process waited so: as on a machine that has a core for each.
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
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.managers import BarrierProxy
from pathlib import Path
from uuid import uuid4

from sqlalchemy import event, text
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.claims import Claim, claim_job, heartbeat, sweep
from ladder_jobs.database import connect, migrate, session_factory
from ladder_jobs.retention import Retention, expire
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


def fill(session: Session, *, jobs: int, ended: int, owners: int) -> None:
    """Queue jobs of so many owners in turn, with three priorities, after others that have ended."""
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
            "model_upload_id, dataset_upload_id, attempt, child_deaths, worker_losses, created_at, "
            "finished_at, cancel_requested_at) "
            "SELECT gen_random_uuid(), o.id, :queue, n % 3, "
            "CASE WHEN n > :jobs THEN 'cancelled' ELSE 'queued' END, 0, CAST(:config AS jsonb), :version, "
            "m.id, d.id, 0, 0, 0, now() - n * interval '1 second', "
            "CASE WHEN n > :jobs THEN now() END, CASE WHEN n > :jobs THEN now() END "
            "FROM generate_series(:jobs + :ended, 1, -1) n JOIN owners o ON o.name = (n % :owners + 1)::text "
            "JOIN uploads m ON m.owner_id = o.id AND m.kind = 'model' "
            "JOIN uploads d ON d.owner_id = o.id AND d.kind = 'dataset'"
        ),
        {
            "queue": QUEUE,
            "jobs": jobs,
            "ended": ended,
            "owners": owners,
            "config": resolve_config({}).model_dump_json(),
            "version": resolve_config({}).schema_version,
        },
    )


def timed(times: list[float], call: Callable[[], object]) -> None:
    start = time.perf_counter()
    call()
    times.append((time.perf_counter() - start) * 1000)


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one claim: all of them, those spent waiting for a core, and those of computing."""

    whole: float
    waited: float
    computed: float


def scheduled(pids: tuple[int, ...]) -> tuple[float, float]:
    """Milliseconds that processes have computed, and that they were ready to and had no core."""
    stats = [Path(f"/proc/{pid}/schedstat").read_text().split() for pid in pids]
    return sum(int(stat[0]) for stat in stats) / 1e6, sum(int(stat[1]) for stat in stats) / 1e6


def take(session: Session, claims: int) -> tuple[list[Cost], list[Claim]]:
    """Claim so often, always on the same connection; what each cost, and what was claimed."""
    pids = os.getpid(), session.scalar(text("SELECT pg_backend_pid()")) or 0
    session.commit()
    costs: list[Cost] = []
    taken: list[Claim] = []
    for _ in range(claims):
        computed, waited = scheduled(pids)
        start = time.perf_counter()
        claim = claim_job(session, queue=QUEUE, worker=str(uuid4()), lease_seconds=3600)
        session.commit()
        whole = (time.perf_counter() - start) * 1000
        computed_then, waited_then = scheduled(pids)
        if claim is None:
            raise RuntimeError("the queue ran empty: queue more jobs")
        costs.append(Cost(whole, waited_then - waited, computed_then - computed))
        taken.append(claim)
    return costs, taken


def claimer(url: str, go: BarrierProxy, claims: int) -> list[Cost]:
    """Claim in a process of its own, as workers do; the first few warm it up."""
    engine = connect(url)
    with session_factory(engine)() as session:
        take(session, WARM_UP)
        go.wait()
        costs, _ = take(session, claims)
    engine.dispose()
    return costs


def prepare(sessions: sessionmaker[Session], options: argparse.Namespace, owners: int) -> list[Claim]:
    """Fill the queue, and have some jobs running."""
    with sessions.begin() as session:
        fill(session, jobs=options.jobs + options.running, ended=options.ended, owners=owners)
    with sessions.begin() as session:
        session.execute(text("ANALYZE"))
    with sessions() as session:
        return take(session, options.running)[1]


def measure(url: str, options: argparse.Namespace, owners: int) -> Iterator[str]:
    """Lines of the table for one number of owners."""
    sessions = session_factory(connect(url))
    for claimers in CLAIMERS:
        running = prepare(sessions, options, owners)
        with multiprocessing.Manager() as manager, ProcessPoolExecutor(claimers, SPAWN) as pool:
            go = manager.Barrier(claimers)
            futures = [pool.submit(claimer, url, go, options.claims // claimers) for _ in range(claimers)]
            costs = [cost for future in futures for cost in future.result()]
        beats: list[float] = []
        for claim in running:
            timed(beats, lambda claim=claim: _beat(sessions, claim))
        sweeps: list[float] = []
        for _ in range(SWEEPS):
            timed(sweeps, lambda: _sweep(sessions))
        with sessions.begin() as session:
            lost = (
                "UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE lease_expires_at IS NOT NULL"
            )
            session.execute(text(lost))
        busy: list[float] = []
        timed(busy, lambda: _sweep(sessions))
        whole = [cost.whole for cost in costs]
        undisturbed = [cost.whole - cost.waited for cost in costs]
        yield (
            f"| {owners:,} | {claimers} | {_at(whole, 50)} | {_at(whole, 99)} | {_at(undisturbed, 50)} "
            f"| {_at(undisturbed, 99)} | {statistics.mean(cost.computed for cost in costs):.1f} "
            f"| {_at(beats, 99)} | {max(sweeps):.1f} | {busy[0]:.0f} |"
        )


def plans(url: str, options: argparse.Namespace) -> Iterator[str]:
    """How Postgres carries out each statement of a claim, a heartbeat, a sweep and an expiry."""
    engine = connect(url)
    sessions = session_factory(engine)
    claim = prepare(sessions, options, options.owners)[0]
    statements: list[tuple[str, object]] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    with sessions() as session:  # never committed, so that each statement can be carried out once more
        claim_job(session, queue=QUEUE, worker="w", lease_seconds=3600)
        heartbeat(session, claim, lease_seconds=3600)
        sweep(session, max_worker_losses=10)
        day = timedelta(days=1)
        expire(session, Retention(uploads=day, artifacts=day, jobs=day), limit=200)
    event.remove(engine, "before_cursor_execute", record)
    with engine.connect() as connection:
        for statement, parameters in statements:
            lines = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, BUFFERS, SETTINGS) {statement}", parameters
            )
            plan = "\n".join(lines.scalars())
            connection.rollback()
            yield f"{statement.strip()}\n\n{plan}\n\n"


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
    parser.add_argument("--ended", type=int, default=20_000, help="jobs that have ended before")
    parser.add_argument("--running", type=int, default=50, help="jobs that are claimed before")
    parser.add_argument("--claims", type=int, default=400, help="claims that are timed")
    parser.add_argument("--plans", action="store_true", help="show the query plans instead")
    parser.add_argument("--owners", type=int, default=2_000, help="owners of the jobs, for the plans")
    options = parser.parse_args()
    if options.plans:
        with database() as url:
            sys.stdout.writelines(plans(url, options))
        return
    sys.stdout.write(
        f"# Claims from a long queue\n\n`python -m benchmarks.queue`: {options.jobs:,} jobs queued, "
        f"{options.ended:,} ended, at least {options.running} running, {options.claims} claims of three "
        f"priorities; {os.cpu_count()} cores ({platform.machine()}) shared by server, claimers and whatever "
        f"else ran on this machine, whose load average was {os.getloadavg()[0]:.1f} at "
        "the start. Milliseconds of whole transactions, fsync on. *Alone* leaves out the time in which the "
        "claimer or its server process was ready to run and had no core; *CPU* is what both computed. The "
        "busy sweep ends 200 expired leases.\n\n"
        "| owners | claimers at once | claim p50 | claim p99 | alone p50 | alone p99 | CPU | heartbeat p99 "
        "| slowest sweep | busy sweep |\n"
        f"|{' ---: |' * 10}\n"
    )
    with database() as url:
        for owners in OWNERS:
            for line in measure(url, options, owners):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
