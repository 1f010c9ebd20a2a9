"""Wake-ups: Celery messages that name a queue, never a job.

Postgres owns the jobs, so a wake-up may be lost, doubled or late without harm: a woken worker claims whatever
is queued, and housekeeping wakes again wherever jobs wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from ladder_jobs.settings import Settings

log = structlog.get_logger(__name__)

WORK_TASK = "ladder.work"
"""Claim jobs of the queue named by the one argument until none is left."""


def task_queue(queue: str) -> str:
    """The broker's name for the queue of jobs called ``queue``, e.g. ``gpu``."""
    return f"ladder.jobs.{queue}"


def celery_app(settings: Settings) -> Celery:
    """The Celery app of senders and workers alike; tasks have no results, so it has no backend."""
    app = Celery("ladder", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=2.0,
        broker_transport_options={
            # Whoever sends a wake-up waits a few seconds at most for a broker that is down or silent.
            "socket_connect_timeout": 2.0,
            "socket_timeout": 3.0,
            "max_retries": 0,
        },
        task_ignore_result=True,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def send_wakeup(app: Celery, queue: str) -> bool:
    """Wake a worker of a queue of jobs, as far as the broker lets us.

    Returns:
        Whether the broker took the message. If not, housekeeping will send another.
    """
    try:
        with _translated(app):
            # It never expires: Celery would ask the taker's clock, and a fast one would have every wake-up
            # thrown away. One that comes too late finds nothing to claim, and costs nothing.
            app.send_task(WORK_TASK, args=(queue,), queue=task_queue(queue), retry=False)
    except OperationalError as error:
        log.warning("wake-up not sent", queue=queue, error=str(error))
        return False
    return True


def wakeups_waiting(app: Celery, queue: str) -> int:
    """How many wake-ups of a queue of jobs are still with the broker; no worker has taken them.

    Raises:
        kombu.exceptions.OperationalError: The broker cannot be reached.
    """
    with _translated(app), app.connection_for_write() as connection:
        declared = connection.default_channel.queue_declare(task_queue(queue), passive=False)
    return int(declared.message_count)


def ping_broker(app: Celery) -> None:
    """Make sure the broker answers.

    Raises:
        kombu.exceptions.OperationalError: It does not.
    """
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=0, timeout=2.0)


@contextmanager
def _translated(app: Celery) -> Iterator[None]:
    """Make one kind of error of all a broker can do to us.

    Kombu translates what fails while a connection is made; what fails afterwards comes out as the client
    library raised it.
    """
    transport = app.connection_for_write()  # not opened: it is asked for the names of its errors
    try:
        yield
    except (*transport.connection_errors, *transport.channel_errors) as error:
        raise OperationalError(str(error)) from error
