"""Repairs what crashes leave behind, and clears away what nobody keeps.

Three loops, none of which waits for another: sweeps, which must be prompt; expiry and deletion, which wait
for the object store; and the search for orphans, which takes the longer the more is stored.
"""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from ladder_jobs.claims import sweep
from ladder_jobs.database import connect, session_factory
from ladder_jobs.deletions import delete_objects
from ladder_jobs.objects import ObjectStore, StoreError
from ladder_jobs.orphans import collect_orphans
from ladder_jobs.retention import Retention, expire
from ladder_jobs.sweeps import Patience
from ladder_jobs.wakeups import celery_app, send_wakeup, wakeups_waiting
from worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_DELETIONS = 20  # entries a transaction: few enough to keep it short
_EXPIRIES = 200


@dataclass(frozen=True)
class House:
    """What is kept in order, and with what."""

    settings: WorkerSettings
    engine: Engine
    sessions: sessionmaker[Session]
    app: Celery
    store: ObjectStore

    @classmethod
    def of(cls, settings: WorkerSettings) -> "House":
        """Prepare the connections; none is opened before it is needed."""
        engine = connect(settings.database_url.get_secret_value())
        return cls(settings, engine, session_factory(engine), celery_app(settings), ObjectStore(settings))


def keep_house(settings: WorkerSettings) -> None:
    """Sweep, expire, delete and collect at intervals until this process is told to stop.

    It drives itself and consumes nothing from the broker: it is what repairs a broker's losses, so it must go
    on without one. Any number of them may run; each skips what another holds.

    Raises:
        RuntimeError: A loop met what it cannot outlast; whoever started this process starts it anew.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    house, stopping = House.of(settings), threading.Event()
    log.info("housekeeping_started", every_seconds=settings.sweep_seconds)
    loops = [
        _start("expiry", lambda: clear(house), settings.sweep_seconds, stopping),
        _start("orphans", lambda: collect(house), settings.collect_seconds, stopping),
    ]
    try:
        while all(loop.is_alive() for loop in loops):
            tidy(house.sessions, house.app, settings)
            if signal.sigtimedwait(_STOP_SIGNALS, settings.sweep_seconds) is not None:
                return
        raise RuntimeError("a loop of housekeeping has ended; its error is in the log")
    finally:
        stopping.set()
        house.engine.dispose()
        log.info("housekeeping_stopped")


def keep_house_once(settings: WorkerSettings) -> bool:
    """Do everything once that is due, the search for orphans included.

    Returns:
        Whether all of it was done; the log says what was not.
    """
    house = House.of(settings)
    try:
        return all([tidy(house.sessions, house.app, settings), clear(house), collect(house)])
    finally:
        house.engine.dispose()


def tidy(sessions: sessionmaker[Session], app: Celery, settings: WorkerSettings) -> bool:
    """Sweep once, then wake the queues in which jobs wait; an outage is the next sweep's business.

    Returns:
        Whether the sweep was done; a broker that is away does not count.
    """
    try:
        with sessions.begin() as session:
            result = sweep(
                session, max_worker_losses=settings.max_worker_losses, patience=Patience.of(settings)
            )
    except SQLAlchemyError:
        log.warning("sweep_failed", exc_info=True)
        return False
    if result.requeued or result.failed or result.cancelled:
        log.info("swept", requeued=result.requeued, failed=result.failed, cancelled=result.cancelled)
    for queue, waiting in result.waiting.items():
        _wake(app, queue, waiting)
    return True


def clear(house: House) -> bool:
    """Expire what was kept long enough, then delete from the store what is written down, all of it.

    Returns:
        Whether nothing is left to do now; an outage is for later.
    """
    retention = Retention.of(house.settings)
    try:
        while _expire(house.sessions, retention) == _EXPIRIES:
            continue
        while _delete(house.sessions, house.store) == _DELETIONS:
            continue
    except (SQLAlchemyError, StoreError) as error:
        log.warning("objects_not_deleted", error=str(error))
        return False
    return True


def collect(house: House) -> bool:
    """Delete objects that no row names and abort uploads that nobody finishes.

    Returns:
        Whether the whole store was gone through; an outage is for later.
    """
    grace = timedelta(seconds=house.settings.orphan_grace_seconds)
    try:
        found = collect_orphans(house.sessions, house.store, grace=grace)
    except (SQLAlchemyError, StoreError) as error:
        log.warning("orphans_not_collected", error=str(error))
        return False
    log.info(
        "orphans_collected", seen=found.seen, deleted=found.deleted, aborted=found.aborted, held=found.held
    )
    return not found.held


def _expire(sessions: sessionmaker[Session], retention: Retention) -> int:
    with sessions.begin() as session:
        expired = expire(session, retention, limit=_EXPIRIES)
    if expired.most:
        log.info("expired", uploads=expired.uploads, artifacts=expired.artifacts, jobs=expired.jobs)
    return expired.most


def _delete(sessions: sessionmaker[Session], store: ObjectStore) -> int:
    with sessions.begin() as session:
        done = delete_objects(session, store, limit=_DELETIONS)
    if done:
        log.info("objects_deleted", entries=done)
    return done


def _start(
    name: str, work: Callable[[], bool], every_seconds: float, stopping: threading.Event
) -> threading.Thread:
    def loop() -> None:
        while not stopping.is_set():
            work()
            stopping.wait(every_seconds)

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    return thread


def _wake(app: Celery, queue: str, waiting: int) -> None:
    """Have a wake-up with the broker for each job that waits: as many idle workers start at once."""
    try:
        for _ in range(waiting - wakeups_waiting(app, queue)):
            if not send_wakeup(app, queue):
                return
    except OperationalError as error:
        log.warning("wake_up_failed", queue=queue, error=str(error))
