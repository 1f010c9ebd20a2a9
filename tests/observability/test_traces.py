"""One trace from POST to publish, sent over the wire to something that speaks OTLP."""

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ladder_schema.jobs import JobStatus
from tests.observability.conftest import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Receiver(ThreadingHTTPServer):
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, Span]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def named(self, name: str) -> list[Span]:
        return [span for _, span in self.spans if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = (
                a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
            )
            self.server.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_job_is_one_trace_from_post_to_publish(service, files, receiver):
    service.more = {"LADDER_TRACES_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    _, client = service.api()
    worker = service.worker("die_at_first_attempt")
    with client:
        client._http.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
        client.wait(client.submit(*files).id, timeout=60)
    eventually(lambda: len(receiver.named("attempt")) == 2)

    (post,) = receiver.named("POST /jobs")
    assert (post.trace_id.hex(), post.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(post) | {"http.route": "/jobs", "http.response.status_code": 202} == attributes(post)

    first, second = sorted(receiver.named("attempt"), key=lambda span: attributes(span)["attempt"])
    assert {span.parent_span_id for span in (first, second)} == {post.span_id}
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    assert [attributes(span)["outcome"] for span in (first, second)] == ["child_died", "succeeded"]
    assert ([*first.links], [link.span_id for link in second.links]) == ([], [first.span_id])

    def parts(attempt: Span) -> set[str]:
        return {span.name for _, span in receiver.spans if span.parent_span_id == attempt.span_id}

    assert parts(first) == {"fetch", "stage latents"}
    assert parts(second) == {"fetch", "stage validate", "stage retrain", "publish"}
    assert {service for service, span in receiver.spans if span.trace_id.hex() == TRACE} == {
        "ladder-api",
        "ladder-worker",
    }
    assert {line["trace_id"] for line in worker.said("attempt_started")} == {TRACE}


def test_a_collector_that_is_down_disturbs_no_job(service, files):
    service.more = {"LADDER_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}
    _, client = service.api()
    service.worker("succeed")
    with client:
        assert client.wait(client.submit(*files).id, timeout=60).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("module", ["api.app", "worker.service", "worker.housekeeping"])
def test_without_an_endpoint_nothing_of_it_is_imported(module):
    """Newer FastAPIs look for OpenTelemetry's interface by themselves; what does the work stays away."""
    program = (
        f"import sys, {module}\n"
        "from ladder_jobs import tracing\n"
        "tracing.configure_tracing(None, 'x')\n"
        "with tracing.span('x'): tracing.begin('y')(); tracing.describe({}); tracing.traceparent()\n"
        "workers = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "sys.exit(any(name.startswith(workers) for name in sys.modules))\n"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    assert subprocess.run([sys.executable, "-c", program], env=variables, check=False).returncode == 0


def test_an_endpoint_without_the_packages_is_refused_with_a_remedy():
    program = (
        "import sys\n"
        "sys.modules['opentelemetry.sdk.resources'] = None\n"
        "from ladder_jobs.tracing import TracingUnavailableError, configure_tracing\n"
        "try: configure_tracing('http://127.0.0.1:1', 'x')\n"
        "except TracingUnavailableError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install 'ladder-hardening[tracing]'" in said
