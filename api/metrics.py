"""What the API counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

REQUESTS = Counter(
    "ladder_http_requests",
    "Requests answered; those that no route takes are one.",
    ["method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "ladder_http_request_duration_seconds",
    "From a request's head to the last byte of its answer: uploads, downloads and followed logs included.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600),
)
UPLOAD_BYTES = Counter("ladder_upload_bytes", "Bytes of uploads that arrived whole.", ["kind"])
LOGS_FOLLOWED = Gauge("ladder_logs_followed", "Logs being followed now.")


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count one request, under names of which there is a bounded number.

    Args:
        method: As the caller sent it.
        route: Template of the path, None where no route took it.
        status: Of the answer.
        seconds: How long it took.
    """
    labels = (method if method in _METHODS else "other", route or "none")
    REQUESTS.labels(*labels, str(status)).inc()
    REQUEST_SECONDS.labels(*labels).observe(seconds)
