"""The Celery worker of one queue of jobs."""

import os
import signal
import socket
import threading
from collections.abc import Sequence

import structlog
from celery import signals
from prometheus_client import REGISTRY

from ladder_jobs.database import connect, session_factory
from ladder_jobs.exposition import exposing
from ladder_jobs.objects import ObjectStore
from ladder_jobs.tracing import configure_tracing
from ladder_jobs.wakeups import WORK_TASK, celery_app, task_queue
from worker import metrics
from worker.bubblewrap import find_bubblewrap
from worker.cgroups import delegated_cgroups
from worker.devices import choose_device, pin_card
from worker.endings import OtherVersion
from worker.gpus import GpuCollector
from worker.process import CHILD_COMMAND
from worker.runner import Runner
from worker.sandbox.proof import needs_gpu, prove
from worker.settings import WorkerSettings
from worker.tools import Tools
from worker.users import child_users
from worker.workdir import prepare_work_dir
from worker.workspace import remove_abandoned

log = structlog.get_logger(__name__)


def serve(
    settings: WorkerSettings, *, queue: str, device: str, child_command: Sequence[str] = CHILD_COMMAND
) -> None:
    """Run the jobs of a queue until this process is told to stop.

    Args:
        settings: The worker's settings.
        queue: Which queue of jobs to serve.
        device: Torch device of the children; `auto` takes a GPU if there is one.
        child_command: How to start a child.

    Raises:
        worker.devices.NoDeviceError: There is no such device.
        worker.users.NoChildUsersError: There is no user to run children as.
        worker.sandbox.proof.SandboxError: A wall is missing.
        worker.workdir.WorkDirError: The work directory is not this worker's alone.
        OtherVersion: The database or the children have become another version's.
    """
    device = choose_device(device, queue=queue)
    pin_card(device)
    name = f"{queue}-{os.getpid()}@{socket.gethostname()}"
    shutdown = threading.Event()
    prepare_work_dir(settings.work_dir)
    if removed := remove_abandoned(settings.work_dir):
        log.info("abandoned_attempts_removed", count=removed)
    configure_tracing(settings.traces_endpoint, "ladder-worker")
    users = child_users(settings)
    cgroups = delegated_cgroups()
    bubblewrap = find_bubblewrap(settings, users, gpu=needs_gpu(device))
    metrics.show_walls(prove(settings, users, device, cgroups=cgroups, bubblewrap=bubblewrap))
    engine = connect(settings.database_url.get_secret_value())
    runner = Runner(
        Tools(
            settings=settings,
            sessions=session_factory(engine),
            store=ObjectStore(settings),
            shutdown=shutdown,
            users=users,
            cgroups=cgroups,
            bubblewrap=bubblewrap,
            device=device,
            child_command=child_command,
        ),
        name=name,
    )

    app = celery_app(settings)
    # A wake-up left with the broker can wake an idle worker; one that waits in a busy worker wakes nobody.
    app.conf.worker_disable_prefetch = True
    # However long the broker is away: jobs go on without it, and a worker that gave up would end them.
    app.conf.broker_connection_max_retries = None
    # Standard output and the loggers are this program's.
    app.conf.worker_redirect_stdouts = False
    signals.setup_logging.connect(_leave_logging_alone)

    mismatches: list[OtherVersion] = []

    @app.task(name=WORK_TASK)  # type: ignore[untyped-decorator]
    def work(queue: str) -> None:
        try:
            runner.run_queued_jobs(queue)
        except OtherVersion as mismatch:
            log.critical("other_version", reason=str(mismatch))
            mismatches.append(mismatch)
            # As whoever stops a worker does: there is no other way to end Celery from within a task.
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(**_: object) -> None:
        shutdown.set()

    # Celery's own answer to SIGTERM is to wait for the running task; this is what makes the task end.
    signals.worker_shutting_down.connect(stop)
    REGISTRY.register(gpus := GpuCollector())
    try:
        with exposing(settings.metrics_listen):
            app.worker_main(
                [
                    "--quiet",
                    "worker",
                    "--pool=threads",
                    "--concurrency=1",
                    f"--queues={task_queue(queue)}",
                    f"--hostname={name}",
                    f"--loglevel={settings.log_level}",
                    "--without-gossip",
                    "--without-mingle",
                ]
            )
    finally:
        REGISTRY.unregister(gpus)
        engine.dispose()
    if mismatches:
        raise mismatches[0]


def _leave_logging_alone(**_: object) -> None:
    """Having a receiver is what keeps Celery from configuring the loggers."""
