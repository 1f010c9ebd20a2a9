"""A listener beside the service's own: ``/metrics`` for Prometheus, ``/healthz`` for whoever restarts us.

It has no authentication, so it belongs on an address that only those two can reach.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from ladder_jobs.health import stuck_loops

log = structlog.get_logger(__name__)

Start = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a scrape that waits for the database must not delay who asks for our health."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the resolver for our name, as the base class would, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "ladder", self.socket.getsockname()[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # for whoever connects and says nothing

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Nothing: a line for each scrape helps nobody."""


@contextmanager
def exposing(listen: str | None, registry: CollectorRegistry = REGISTRY) -> Iterator[str | None]:
    """Serve metrics and health while the context lasts.

    Args:
        listen: ``host:port``; port 0 takes a free one. None serves nothing.
        registry: Whose metrics.

    Returns:
        The address, or None.

    Raises:
        OSError: The address cannot be listened on.
    """
    if listen is None:
        yield None
        return
    host, _, port = listen.rpartition(":")
    try:
        server = make_server(host.strip("[]"), int(port), _application(registry), _server(host), _Handler)
    except OSError as error:
        raise OSError(
            error.errno,
            f"LADDER_METRICS_LISTEN={listen} cannot be listened on ({error.strerror}); name another",
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    address = f"{host}:{server.server_port}"
    log.info("metrics_served", address=address)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server(host: str) -> type[_Server]:
    return _Server6 if host.startswith("[") else _Server


def _application(registry: CollectorRegistry) -> Application:
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                exposed: Iterable[bytes] = metrics(environ, start)
                return exposed
            case "/healthz":
                stuck = stuck_loops()
                return _json(start, "503 Service Unavailable" if stuck else "200 OK", {"stuck": stuck})
            case _:
                return _json(start, "404 Not Found", {"paths": ["/metrics", "/healthz"]})

    return answer


def _json(start: Start, status: str, value: dict[str, list[str]]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(value).encode()]
