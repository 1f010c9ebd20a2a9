"""Health check of a worker container: exit 0 if its Celery worker answers a ping and its loops turn."""

import socket
import sys
import urllib.request
from urllib.error import URLError

from ladder_jobs.settings import Settings
from ladder_jobs.wakeups import celery_app


def main() -> None:
    """Ping by host name: other workers' answers say nothing about this one."""
    settings = Settings()
    if settings.metrics_listen is not None:
        _ask_for_stuck_loops(settings.metrics_listen)
    app = celery_app(settings)
    answers = app.control.ping(timeout=5, pattern=f"*@{socket.gethostname()}", matcher="glob")
    sys.exit(0 if answers else "the worker does not answer")


def _ask_for_stuck_loops(listen: str) -> None:
    port = listen.rpartition(":")[2]
    try:
        urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=5).close()
    except (URLError, OSError) as error:
        sys.exit(f"the worker is not healthy: {error}")


if __name__ == "__main__":
    main()
