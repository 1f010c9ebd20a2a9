"""Repairs what crashes leave behind: expired leases, lost wake-ups; deletes what removed jobs leave."""

import signal
import threading

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs import health
from ladder_jobs.claims import sweep
from ladder_jobs.database import connect, session_factory
from ladder_jobs.deletions import delete_objects
from ladder_jobs.exposition import exposing
from ladder_jobs.objects import ObjectStore, StoreError
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeups_waiting
from worker import metrics
from worker.queues import QueueCollector
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
# A sweep that waits for Postgres is slow, not stuck; one that waits longer than any timeout is.
_STUCK_SECONDS = 60.0
_STUCK_INTERVALS = 10
_DELETIONS = 20  # entries a transaction: few enough to keep it short


def keep_house(settings: WorkerSettings) -> None:
    """Sweep at intervals until this process is told to stop.

    It drives itself and consumes nothing from the broker: it is what repairs a broker's losses, so it must go
    on without one. Any number of them may run; a sweep skips what another holds.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    engine = connect(settings.database_url.get_secret_value())
    sessions, app = session_factory(engine), celery_app(settings)
    log.info("housekeeping_started", every_seconds=settings.sweep_seconds)
    stopping = threading.Event()
    # On a thread of its own: a slow object store must not keep the sweeps waiting.
    collecting = threading.Thread(
        target=_collect_at_intervals, args=(sessions, ObjectStore(settings), settings, stopping), daemon=True
    )
    collecting.start()
    REGISTRY.register(queues := QueueCollector(sessions))
    try:
        with exposing(settings.metrics_listen):
            while True:
                health.beat("sweep", within=max(_STUCK_SECONDS, _STUCK_INTERVALS * settings.sweep_seconds))
                tidy(sessions, app, settings)
                if signal.sigtimedwait(_STOP_SIGNALS, settings.sweep_seconds) is not None:
                    return
    finally:
        health.rest("sweep")
        REGISTRY.unregister(queues)
        stopping.set()
        engine.dispose()
        log.info("housekeeping_stopped")


def tidy(sessions: sessionmaker[Session], app: Celery, settings: WorkerSettings) -> None:
    """Sweep once, then wake the queues in which jobs wait; an outage is the next sweep's business."""
    try:
        with metrics.SWEEP_SECONDS.time(), sessions.begin() as session:
            result = sweep(session, max_worker_losses=settings.max_worker_losses)
    except SQLAlchemyError:
        metrics.SWEEP_FAILURES.inc()
        log.warning("sweep_failed", exc_info=True)
        return
    metrics.SWEEPS.inc()
    metrics.LAST_SWEEP.set_to_current_time()
    for lost in result.lost:
        metrics.SWEPT.labels(lost.status.value).inc()
        log.warning(
            "attempt_lost",
            job=str(lost.job_id),
            attempt=lost.attempt,
            request_id=lost.request_id,
            worker=lost.worker,
            status=lost.status.value,
        )
    for queue, waiting in result.waiting.items():
        _wake(app, queue, waiting)


def collect(sessions: sessionmaker[Session], store: ObjectStore) -> bool:
    """Delete some objects of jobs that were removed.

    Returns:
        Whether there may be more at once; an outage is for later.
    """
    try:
        with sessions.begin() as session:
            done = delete_objects(session, store, limit=_DELETIONS)
    except (SQLAlchemyError, StoreError) as error:
        log.warning("objects_not_deleted", error=str(error))
        return False
    if done:
        log.info("objects_deleted", entries=done)
    return done == _DELETIONS


def _collect_at_intervals(
    sessions: sessionmaker[Session], store: ObjectStore, settings: WorkerSettings, stopping: threading.Event
) -> None:
    while not stopping.is_set():
        if not collect(sessions, store):
            stopping.wait(settings.sweep_seconds)


def _wake(app: Celery, queue: str, waiting: int) -> None:
    """Have a wake-up with the broker for each job that waits: as many idle workers start at once."""
    try:
        for _ in range(waiting - wakeups_waiting(app, queue)):
            if not send_wakeup(app, queue):
                return
            metrics.WAKEUPS.labels(queue).inc()
    except OperationalError as error:
        log.warning("wake_up_failed", queue=queue, error=str(error))
