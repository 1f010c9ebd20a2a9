"""The state of the queues as metrics, counted by Postgres when Prometheus asks."""

import threading
import time
from collections.abc import Iterator, Sequence

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.census import Count, count_jobs
from ladder_schema.jobs import JobStatus

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 5.0
_SHOWN = tuple(status for status in JobStatus if not status.is_final)


class QueueCollector(Collector):
    """Counts once in a few seconds at most, however many ask; while Postgres is away there are no series."""

    def __init__(self, sessions: sessionmaker[Session], *, fresh_seconds: float = _FRESH_SECONDS) -> None:
        """Take where to count, and how long a count holds."""
        self._sessions = sessions
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._counted: Sequence[Count] | None = None
        self._stale_at = 0.0
        self._queues: set[str] = set()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families, without asking anybody."""
        yield GaugeMetricFamily(
            "ladder_jobs", "Jobs that are not final, by queue and state.", labels=["queue", "status"]
        )
        yield GaugeMetricFamily(
            "ladder_queue_oldest_seconds",
            "How long the job has waited that has waited longest in a queue; 0 in an empty one.",
            labels=["queue"],
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The counts; a queue that was seen once is shown from then on, with nothing in it if need be."""
        counts = self._count()
        jobs, oldest = self.describe()
        if counts is not None:
            found = {(count.queue, count.status): count for count in counts}
            for queue in sorted(self._queues):
                for status in _SHOWN:
                    count = found.get((queue, status))
                    jobs.add_metric([queue, status.value], count.jobs if count else 0)
                waiting = found.get((queue, JobStatus.QUEUED))
                oldest.add_metric([queue], waiting.oldest_seconds if waiting else 0.0)
        yield jobs
        yield oldest

    def _count(self) -> Sequence[Count] | None:
        with self._lock:
            if time.monotonic() >= self._stale_at:
                self._counted = self._ask()
                self._queues |= {count.queue for count in self._counted or ()}
                self._stale_at = time.monotonic() + self._fresh_seconds
            return self._counted

    def _ask(self) -> Sequence[Count] | None:
        try:
            with self._sessions.begin() as session:
                return count_jobs(session)
        except SQLAlchemyError as error:
            log.warning("jobs_not_counted", error=type(error).__name__)
            return None
