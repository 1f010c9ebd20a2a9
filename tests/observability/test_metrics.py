"""What is counted, as Prometheus would see it; the document and the alerts name what there is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

import api.metrics
import worker.metrics
from ladder_jobs import health
from ladder_jobs.database import connect, session_factory
from ladder_jobs.exposition import exposing
from ladder_schema.jobs import JobStatus
from tests.observability.conftest import eventually
from worker.gpus import GpuCollector
from worker.queues import QueueCollector

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())
HOUSEKEEPING = ("ladder_sweep", "ladder_last_sweep", "ladder_swept", "ladder_wakeups")


def collectors(module: Any) -> list[MetricWrapperBase]:
    return [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]


def rows(*found: Collector, prefix: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> list[str]:
    """The document's lines about these metrics, in the order of the code."""
    lines = []
    for collector in found:
        for family in collector.describe():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ())
            shown = ", ".join(f"`{label}`" for label in labels) or "-"
            is_wanted = name.startswith(prefix) if prefix else not name.startswith(without or ("-",))
            if is_wanted:
                lines.append(f"| `{name}` | {family.type} | {shown} | {family.documentation} |")
    return lines


SECTIONS = {
    "API": rows(*collectors(api.metrics)),
    "Workers": rows(*collectors(worker.metrics), GpuCollector(), without=HOUSEKEEPING),
    "Housekeeping": [
        *rows(*collectors(worker.metrics), prefix=HOUSEKEEPING),
        *rows(QueueCollector(None)),  # asked for its description alone
    ],
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_document_lists_the_metrics_of_the_code(section):
    found = re.search(rf"## {section}\n[^#]*?\n\|---[^\n]*\n((?:\|[^\n]*\n)+)", DOCUMENT)
    assert found is not None
    assert found.group(1).splitlines() == SECTIONS[section]


def test_the_alerts_ask_for_metrics_that_there_are():
    known = {re.match(r"\| `(\w+)`", row)[1] for section in SECTIONS.values() for row in section}
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"ladder_\w+", rule["expr"])}
        assert used, rule
        assert used <= known, used - known
        assert {"summary", "description"} <= set(rule["annotations"])
        assert f"`{rule['alert']}`" in DOCUMENT


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_processes_show_what_they_did(service, files):
    api_process, client = service.api()
    worker_process = service.worker("die_at_first_attempt")
    house = service.housekeeping()
    with client:
        job = client.wait(client.submit(*files).id, timeout=60)
        client.get(job.id)
    assert job.status is JobStatus.SUCCEEDED

    seen = samples(api_process.metrics())
    assert seen["ladder_http_requests_total", "POST", "/jobs", "202"] == 1
    assert seen["ladder_http_requests_total", "GET", "/jobs/{job_id}", "200"] >= 1
    assert seen["ladder_http_request_duration_seconds_count", "POST", "/jobs"] == 1
    assert seen["ladder_upload_bytes_total", "model"] == files[0].stat().st_size
    assert str(job.id) not in api_process.metrics()

    eventually(lambda: samples(worker_process.metrics()).get(("ladder_worker_busy",)) == 0)
    seen = samples(worker_process.metrics())
    for outcome in ("child_died", "succeeded"):
        assert seen["ladder_attempts_total", outcome] == 1
        assert seen["ladder_attempt_duration_seconds_count", outcome] == 1
    assert seen["ladder_retries_total",] == 1
    assert seen["ladder_child_exits_total", "child_crashed", "SIGKILL"] == 1
    assert seen["ladder_child_exits_total", "ok", ""] == 1
    assert {seen["ladder_stage_duration_seconds_count", s] for s in ("latents", "validate", "retrain")} == {1}
    assert seen["ladder_heartbeat_duration_seconds_count",] >= 2
    assert seen["ladder_lease_losses_total",] == seen["ladder_child_resident_bytes",] == 0
    assert seen["ladder_sandbox_wall_missing", "seccomp"] == 0
    assert seen["process_resident_memory_bytes",] > 0

    eventually(lambda: samples(house.metrics()).get(("ladder_sweeps_total",), 0) >= 2)
    seen = samples(house.metrics())
    assert seen["ladder_last_sweep_timestamp_seconds",] > 1e9
    assert seen["ladder_sweep_failures_total",] == 0


def test_a_running_child_and_a_long_wait_are_seen(service, files):
    _, client = service.api()
    worker_process = service.worker("ignore_everything")
    house = service.housekeeping()
    house.metrics()
    with client:
        first = client.submit(*files)
        eventually(lambda: client.get(first.id).stage is not None)
        client.submit(*files)
        eventually(
            lambda: (
                samples(house.metrics()).get(("ladder_jobs", service.queue, "queued")) == 1
                and samples(house.metrics()).get(("ladder_jobs", service.queue, "running")) == 1
            )
        )
    seen = samples(house.metrics())
    assert seen["ladder_jobs", service.queue, "cancelling"] == 0
    eventually(lambda: samples(house.metrics())["ladder_queue_oldest_seconds", service.queue] > 0)
    seen = samples(worker_process.metrics())
    assert (seen["ladder_worker_busy",], seen["ladder_child_resident_bytes",] > 1 << 20) == (1, True)


def jobs_shown(collector: QueueCollector) -> dict[tuple[str, str], float]:
    jobs, _ = collector.collect()
    return {(sample.labels["queue"], sample.labels["status"]): sample.value for sample in jobs.samples}


def test_jobs_are_counted_once_in_a_while_however_many_ask(service, files):
    _, client = service.api()
    engine = connect(service.settings.database_url.get_secret_value())
    with client:
        first = client.submit(*files)
        lasting, passing = (QueueCollector(session_factory(engine), fresh_seconds=s) for s in (3600, 0))
        queued = service.queue, "queued"
        assert jobs_shown(lasting)[queued] == jobs_shown(passing)[queued] == 1
        client.submit(*files)
        assert (jobs_shown(lasting)[queued], jobs_shown(passing)[queued]) == (1, 2)
        for job in (first, *client.list()):
            client.cancel(job.id)
    assert jobs_shown(passing)[queued] == 0, "a queue that was seen once stays in sight"
    engine.dispose()


def test_without_a_database_no_jobs_are_shown():
    engine = connect("postgresql://u:p@127.0.0.1:1/x")
    assert jobs_shown(QueueCollector(session_factory(engine))) == {}


def test_no_metrics_are_on_the_public_port(service):
    _, client = service.api()
    with client:
        assert client._http.get("metrics").status_code == 404


def test_a_stuck_loop_fails_the_health_check():
    with exposing("127.0.0.1:0") as address:
        assert httpx.get(f"http://{address}/healthz").json() == {"stuck": []}
        health.beat("a loop", within=-1.0)
        try:
            answer = httpx.get(f"http://{address}/healthz")
            assert (answer.status_code, answer.json()) == (503, {"stuck": ["a loop"]})
            health.beat("a loop", within=60.0)
            assert httpx.get(f"http://{address}/healthz").status_code == 200
        finally:
            health.rest("a loop")
        assert httpx.get(f"http://{address}/else").status_code == 404


def test_the_containers_check_asks_the_worker_and_its_listener(service):
    def check(listen: str) -> int:
        environment = service.environment() | {"LADDER_METRICS_LISTEN": listen}
        return subprocess.run(
            [sys.executable, ROOT / "deploy" / "ping_worker.py"], env=environment, check=False
        ).returncode

    listen = service.worker("succeed").listener()
    eventually(lambda: check(listen) == 0)
    assert check("127.0.0.1:1") == 1


def test_without_an_address_nothing_listens():
    with exposing(None) as address:
        assert address is None


def test_an_address_that_is_taken_is_named():
    with exposing("127.0.0.1:0") as address:
        taken = exposing(address)
        with pytest.raises(OSError, match=f"LADDER_METRICS_LISTEN={address}"):
            taken.__enter__()


def test_a_machine_without_a_gpu_has_no_series_of_it():
    families = list(GpuCollector().collect())
    assert all(len(sample.labels) == 2 for family in families for sample in family.samples)
    assert REGISTRY.get_sample_value("ladder_gpu_memory_bytes", {"gpu": "0"}) is None
