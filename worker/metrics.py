"""What workers and housekeeping count, for Prometheus."""

import signal
from collections.abc import Sequence
from contextlib import suppress

from prometheus_client import Counter, Gauge, Histogram

from ladder_jobs.states import Outcome
from worker.endings import Died, Dropped, Ending, Finished, NotStarted, Refused
from worker.sandbox.confinement import Wall
from worker.sandbox.proof import Climb
from worker.usage import memory_and_threads

_SWEEP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600)

# Workers.
BUSY = Gauge("ladder_worker_busy", "Whether this worker has a job in hands, 0 or 1.")
UNFIT = Gauge(
    "ladder_worker_unfit",
    "Whether this worker claims nothing until its disk, clock, object store and children work again, 0 or 1.",
)
ATTEMPTS = Counter(
    "ladder_attempts",
    "Attempts of this worker that are over: how they ended, or lost (the job is another's) or unsettled "
    "(the database did not take the end).",
    ["outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "ladder_attempt_duration_seconds",
    "From claim to end, by outcome.",
    ["outcome"],
    buckets=_STAGE_BUCKETS,
)
RETRIES = Counter("ladder_retries", "Attempts begun that were not their job's first.")
LEASE_LOSSES = Counter(
    "ladder_lease_losses", "Attempts dropped because the job was another worker's by then."
)
STAGE_SECONDS = Histogram(
    "ladder_stage_duration_seconds",
    "How long a child was in a stage, finished or not.",
    ["stage"],
    buckets=_STAGE_BUCKETS,
)
CHILD_EXITS = Counter(
    "ladder_child_exits",
    "Children that are gone, by cause: ok, cancel, shutdown, lost, broken, not_started, or the job's error "
    "code; and the signal that ended them, if one did.",
    ["cause", "signal"],
)
CHILD_MEMORY = Gauge("ladder_child_resident_bytes", "Memory of the running child; 0 without one.")
HEARTBEAT_SECONDS = Histogram(
    "ladder_heartbeat_duration_seconds",
    "How long Postgres took for a heartbeat, failed ones included.",
    buckets=_SWEEP_BUCKETS,
)
HEARTBEAT_FAILURES = Counter("ladder_heartbeat_failures", "Heartbeats that Postgres did not take.")
WALLS_MISSING = Gauge(
    "ladder_sandbox_wall_missing",
    "Whether the start's self-test got over a wall of the sandbox, 0 or 1.",
    ["wall"],
)

# Housekeeping.
SWEEPS = Counter("ladder_sweeps", "Sweeps done.")
SWEEP_FAILURES = Counter("ladder_sweep_failures", "Sweeps that Postgres did not take.")
SWEEP_SECONDS = Histogram("ladder_sweep_duration_seconds", "How long a sweep took.", buckets=_SWEEP_BUCKETS)
LAST_SWEEP = Gauge("ladder_last_sweep_timestamp_seconds", "When the last sweep was done, in Unix time.")
SWEPT = Counter("ladder_swept_jobs", "Jobs whose worker was lost, by the state they were given.", ["status"])
WAKEUPS = Counter("ladder_wakeups_sent", "Wake-ups sent again.", ["queue"])

_child: int | None = None


def watch_child(pid: int | None) -> None:
    """From now on show this child's memory; None shows none."""
    global _child  # noqa: PLW0603 - a worker has one child at a time
    _child = pid


def count_exit(ending: Ending, returncode: int) -> None:
    """Count a child that is gone."""
    match ending:
        case Finished():
            cause = "ok"
        case Refused(error=error) | Died(error=error):
            cause = error.code.value
        case NotStarted():
            cause = "not_started"
        case Dropped(cause=why):
            cause = why.value
    number = ""
    if returncode < 0:
        with suppress(ValueError):
            number = signal.Signals(-returncode).name
    CHILD_EXITS.labels(cause, number).inc()


def count_attempt(outcome: Outcome | str, seconds: float) -> None:
    """Count an attempt that is over."""
    ATTEMPTS.labels(str(outcome)).inc()
    ATTEMPT_SECONDS.labels(str(outcome)).observe(seconds)


def show_walls(climbs: Sequence[Climb]) -> None:
    """Show which walls the self-test got over."""
    climbed = {climb.wall for climb in climbs if not climb.held}
    for wall in Wall:
        WALLS_MISSING.labels(wall.value).set(wall in climbed)


CHILD_MEMORY.set_function(lambda: memory_and_threads(_child)[0] if _child is not None else 0)
