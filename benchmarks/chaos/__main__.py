"""Jobs over HTTP through the whole service while everything that runs in it is killed in turn.

python -m benchmarks.chaos [--jobs 20] [--minutes 15] [--seed 0] [--output benchmarks/results/chaos.md]

A stack with three workers as `ladder serve` runs it, default settings, the real pipeline on handwritten
digits. Every 10 to 20 seconds something gets SIGKILL: a job's child, a worker alone or with its child, the
sweeper, the API, the broker, Postgres or the object store. Exits with 1 unless every user has the whole
result of the job posted, and nothing else is left.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path

from benchmarks.chaos.load import Result, Users
from benchmarks.chaos.marks import Marks, Row, judge, orphans_after_collection, read_rows
from benchmarks.chaos.targets import Chaos, Kill
from ladder_jobs.database import connect, session_factory
from ladder_jobs.logs import configure_logging
from ladder_jobs.objects import ObjectStore
from ladder_local.stack import LocalStack

WORKERS = 3
PAUSE_SECONDS = (10.0, 20.0)
POSTING_SHARE = 0.75  # of the time: the last job is to meet chaos, too
PATIENCE_SECONDS = 900.0  # for what is left to do when the killing is over


def main() -> None:
    options = _options()
    configure_logging("ERROR")  # that things are started again is no news here
    # Each of its own: the stack's is opened to the account that Postgres runs as.
    directory, files = (Path(tempfile.mkdtemp(prefix=f"ladder-chaos-{name}-")) for name in ("stack", "users"))
    # For images this small, threads cost more than they bring; the workers inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        report, missed = run(directory, files, options)
    except BaseException:
        _say(f"The logs are in {directory}.")
        raise
    sys.stdout.write(report)
    if options.output:
        options.output.write_text(report, encoding="utf-8")
    if missed:
        raise SystemExit(f"Missed: {'; '.join(missed)}. The logs are in {directory}.")
    shutil.rmtree(directory)
    shutil.rmtree(files)


def run(directory: Path, files: Path, options: argparse.Namespace) -> tuple[str, list[str]]:
    """Run the jobs and the chaos.

    Args:
        directory: The stack's.
        files: Takes uploads and results.
        options: From the command line.

    Returns:
        The report, and which marks were missed.
    """
    seconds = options.minutes * 60
    started = time.monotonic()
    with LocalStack(directory, workers=WORKERS) as stack:
        chaos = Chaos(stack, WORKERS, random.Random(options.seed))
        users = Users(
            stack.api_url,
            stack.api_key,
            files,
            jobs=options.jobs,
            over_seconds=seconds * POSTING_SHARE,
            give_up_seconds=seconds + PATIENCE_SECONDS,
        )
        with users.at_work() as results:
            spread(chaos, results, seconds, random.Random(options.seed + 1))
            wait(results)
        took = time.monotonic() - started
        sessions = session_factory(connect(stack.settings.database_url.get_secret_value()))
        with sessions() as session:
            rows = read_rows(session)
        orphans = orphans_after_collection(sessions, ObjectStore(stack.settings))
    marks = judge(results, rows, orphans)
    missed = marks.missed(options.jobs)
    return "\n".join(_report(options, took, chaos, results, rows, marks, missed)), missed


def spread(chaos: Chaos, results: Sequence[Future[Result]], seconds: float, rng: random.Random) -> None:
    """Kill until the time is over, or every user has gone home."""
    ends = time.monotonic() + seconds
    while True:
        pause = rng.uniform(*PAUSE_SECONDS)
        if time.monotonic() + pause > ends:
            return
        if not wait(results, timeout=pause).not_done:
            return
        kill = chaos.kill_one()
        done = sum(future.done() for future in results)
        _say(f"{kill.at:6.1f} s  {kill.target} ({kill.victim}); {done} of {len(results)} jobs done")


def _report(
    options: argparse.Namespace,
    took: float,
    chaos: Chaos,
    results: Sequence[Future[Result]],
    rows: Sequence[Row],
    marks: Marks,
    missed: Sequence[str],
) -> Iterator[str]:
    yield "# Chaos\n"
    yield (
        f"`python -m benchmarks.chaos --jobs {options.jobs} --minutes {options.minutes:g} "
        f"--seed {options.seed}`: "
        f"{WORKERS} workers, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end, "
        f"{time.strftime('%Y-%m-%d')}. {len(chaos.kills)} kills in {took:.0f} s, by SIGKILL, one every "
        f"{PAUSE_SECONDS[0]:.0f} to {PAUSE_SECONDS[1]:.0f} s; default settings.\n"
    )
    yield from _marks_table(marks, missed)
    yield from _kills_table(chaos.targets, chaos.kills)
    yield from _jobs_table(results, rows)


def _marks_table(marks: Marks, missed: Sequence[str]) -> Iterator[str]:
    yield "| results | lost | duplicates | of another job | orphans after collection |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    yield f"| {marks.results} | {marks.lost} | {marks.duplicates} | {marks.mixed_up} | {marks.orphans} |\n"
    yield f"Missed: {'; '.join(missed)}.\n" if missed else "Every mark was met.\n"


def _kills_table(targets: Sequence[str], kills: Sequence[Kill]) -> Iterator[str]:
    count = Counter(kill.target for kill in kills)
    yield "| killed | times |\n| --- | ---: |"
    for target in targets:
        yield f"| {target} | {count[target]} |"
    yield ""


def _jobs_table(results: Sequence[Future[Result]], rows: Sequence[Row]) -> Iterator[str]:
    arrived = {}
    for future in results:
        if future.exception() is None:
            arrived[future.result().job_id] = len(future.result().artifacts)
    yield "| job | state | attempts | how they ended | seconds | artifacts that arrived |"
    yield "| ---: | --- | ---: | --- | ---: | ---: |"
    for number, row in enumerate(rows, start=1):
        ended = Counter(str(outcome) for outcome in row.outcomes)
        how = ", ".join(f"{count} {name}" for name, count in ended.items())
        yield (
            f"| {number} | {row.status} | {len(row.outcomes)} | {how} | {row.seconds:.0f} "
            f"| {arrived.get(row.job_id, 0)} |"
        )
    yield ""
    for future in results:
        if error := future.exception():
            yield f"- A user was left with {type(error).__name__}: {error}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20, help="how many are posted")
    parser.add_argument("--minutes", type=float, default=15.0, help="for how long things are killed")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when")
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
