"""Health check of a worker container: exit 0 if the Celery worker on this host answers a ping."""

import socket
import sys

from ladder_jobs.settings import Settings
from ladder_jobs.wakeups import celery_app


def main() -> None:
    """Ping by host name: other workers' answers say nothing about this one."""
    app = celery_app(Settings())
    answers = app.control.ping(timeout=5, pattern=f"*@{socket.gethostname()}", matcher="glob")
    sys.exit(0 if answers else "the worker does not answer")


if __name__ == "__main__":
    main()
