"""What a job costs after its worker was lost at 80% of its training: what the checkpoints are worth.

python -m benchmarks.resume [--epochs 2000] [--checkpoint-seconds 10] [--output FILE]

The same job runs twice through a stack with two workers: once to its end, and once with its worker killed at
80% of retraining, so that another worker goes on. Exits with 1 if that takes more than 30% of the whole run's
time from the new attempt's claim to its end.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from examples import digits
from ladder_client import Client
from ladder_core.methods.ladder import STAGE_WEIGHTS
from ladder_jobs.database import connect, session_factory
from ladder_jobs.logs import configure_logging
from ladder_jobs.states import EventKind, Outcome
from ladder_jobs.tables import Attempt, Event, Job
from ladder_local.stack import LocalStack
from ladder_schema.jobs import ArtifactName, JobView, Stage

KILLED_AT = 0.8
MAX_SHARE = 0.3


@dataclass(frozen=True)
class Ran:
    """One job's way through the service.

    Attributes:
        seconds: From the last attempt's claim to its end, by Postgres' clock.
        outcomes: How each attempt ended.
        stages: The stages that the last attempt went through.
        weights_sha256: Of the hardened weights.
    """

    seconds: float
    outcomes: tuple[Outcome | None, ...]
    stages: tuple[Stage | None, ...]
    weights_sha256: str


def run(
    client: Client,
    sessions: sessionmaker[Session],
    uploads: tuple[Path, Path],
    config: dict[str, Any],
    *,
    kill: bool,
) -> Ran:
    """Run the job to its end; with a kill on the way, if asked."""
    job = client.submit(*uploads, config)
    killed: list[int] = []

    def kill_once(seen: JobView) -> None:
        if kill and not killed and is_far_enough(seen):
            killed.append(kill_worker(sessions, seen.id))

    done = client.wait(job.id, on_update=kill_once)
    if kill and not killed:
        raise SystemExit("training was over before it was seen at 80%: give more --epochs")
    with sessions() as session:
        query = select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number)
        attempts = session.scalars(query).all()
        last = attempts[-1]
        stages = session.scalars(
            select(Event.stage)
            .where(Event.job_id == job.id, Event.attempt == last.number, Event.kind == EventKind.STAGE)
            .order_by(Event.id)
        ).all()
    if last.ended_at is None:
        raise RuntimeError("the job has succeeded and its attempt has not ended")
    weights = next(artifact for artifact in done.artifacts if artifact.name is ArtifactName.WEIGHTS)
    seconds = (last.ended_at - last.started_at).total_seconds()
    return Ran(seconds, tuple(a.outcome for a in attempts), tuple(stages), weights.sha256)


def is_far_enough(job: JobView) -> bool:
    """Whether the job is at 80% of its training or beyond, and still in it."""
    total = sum(STAGE_WEIGHTS.values())
    before = sum(weight for stage, weight in STAGE_WEIGHTS.items() if stage.precedes(Stage.RETRAIN))
    threshold = (before + KILLED_AT * STAGE_WEIGHTS[Stage.RETRAIN]) / total
    return job.stage is Stage.RETRAIN and job.progress >= threshold


def kill_worker(sessions: sessionmaker[Session], job_id: UUID) -> int:
    """SIGKILL the worker that holds the job; its child dies with it."""
    with sessions() as session:
        name = session.get_one(Job, job_id).worker
    if name is None:
        raise RuntimeError("nobody holds the job")
    pid = int(name.rpartition("@")[0].rpartition("-")[2])
    os.kill(pid, signal.SIGKILL)
    return pid


def report(whole: Ran, resumed: Ran, options: argparse.Namespace) -> str:
    """The figures as Markdown."""
    same = "the same" if whole.weights_sha256 == resumed.weights_sha256 else "others"
    return (
        "# Resumption\n\n"
        f"`python -m benchmarks.resume --epochs {options.epochs} "
        f"--checkpoint-seconds {options.checkpoint_seconds:g}`: handwritten digits, a checkpoint every "
        f"{options.checkpoint_seconds:g} s, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} "
        f"at the end, {time.strftime('%Y-%m-%d')}.\n\n"
        "| | whole run | after the kill |\n| --- | ---: | ---: |\n"
        f"| seconds from claim to end | {whole.seconds:.0f} | {resumed.seconds:.0f} |\n"
        f"| share of the whole run | 100% | {resumed.seconds / whole.seconds:.1%} |\n"
        f"| attempts | {_words(whole.outcomes)} | {_words(resumed.outcomes)} |\n"
        f"| stages of the last attempt | {_words(whole.stages)} | {_words(resumed.stages)} |\n\n"
        f"The weights are {same}.\n"
    )


def _words(words: tuple[object, ...]) -> str:
    return ", ".join(map(str, words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2_000, help="of retraining: its share of the run")
    parser.add_argument(
        "--checkpoint-seconds", type=float, default=10.0, help="from checkpoint to checkpoint"
    )
    parser.add_argument("--output", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    configure_logging("ERROR")  # that the worker is started again is no news here
    config = {
        "preset": "quick",
        "threat_model": {"epsilon": 0.1},
        "generator": {"steps": 200},
        "retraining": {"epochs": options.epochs},
    }
    # For images this small, threads cost more than they bring; the workers inherit both.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["LADDER_CHECKPOINT_SECONDS"] = str(options.checkpoint_seconds)
    with (
        tempfile.TemporaryDirectory(prefix="ladder-resume-") as files,
        tempfile.TemporaryDirectory(prefix="ladder-resume-") as name,
        LocalStack(Path(name), workers=2) as stack,
        Client(stack.api_url, stack.api_key) as client,
    ):
        sessions = session_factory(connect(stack.settings.database_url.get_secret_value()))
        uploads = digits.make(Path(files))
        whole = run(client, sessions, uploads, config, kill=False)
        resumed = run(client, sessions, uploads, config, kill=True)
    text = report(whole, resumed, options)
    sys.stdout.write(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if resumed.seconds > MAX_SHARE * whole.seconds:
        raise SystemExit(f"more than {MAX_SHARE:.0%} of a whole run was spent after the kill")


if __name__ == "__main__":
    main()
