"""The compose files promise no default passwords, one open port, and images that do not change."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.sandbox.confinement import MAX_THREADS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()


def words(node: object) -> list[str]:
    """Every text in a document."""
    if isinstance(node, dict):
        return [word for value in node.values() for word in words(value)]
    if isinstance(node, list):
        return [word for value in node for word in words(value)]
    return [node] if isinstance(node, str) else []


def test_a_worker_has_one_gpu_of_its_own_and_another_is_added_as_the_file_says() -> None:
    text = (ROOT / "docker-compose.gpu.yml").read_text()
    example = re.search(r"^#   worker-1:\n(?:#     .*\n)+", text, re.MULTILINE)
    assert example is not None
    added = text.rstrip() + "\n\n" + example.group().replace("#   ", "  ")
    workers = {
        name: service for name, service in yaml.safe_load(added)["services"].items() if "deploy" in service
    }
    devices = [worker["deploy"]["resources"]["reservations"]["devices"] for worker in workers.values()]
    assert devices == [[{"driver": "nvidia", "capabilities": ["gpu"], "device_ids": [gpu]}] for gpu in "01"]
    assert all(worker["command"][-2:] == ["--device", "cuda"] for worker in workers.values())
    assert workers["worker-1"]["extends"] == {"file": "docker-compose.yml", "service": "worker"}


def test_every_password_is_required_and_named_in_the_example_without_a_value() -> None:
    used = re.findall(r"\$\{(\w+_PASSWORD)([^}]*)\}", "\n".join(words(COMPOSE)))

    assert {name for name, _ in used} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "MINIO_PASSWORD"}
    assert all(condition.startswith(":?") for _, condition in used)
    assert set(re.findall(r"^(\w+_PASSWORD)=$", EXAMPLE, re.MULTILINE)) == {name for name, _ in used}


def test_no_service_has_a_password_written_out() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH", name):
                assert re.fullmatch(r"\$\{\w+_PASSWORD:\?[^}]*\}", value), name


def test_the_api_alone_is_reachable_and_on_loopback_unless_told_otherwise() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["${LADDER_LISTEN:-127.0.0.1:8000}:8000"]}
    assert not any("network_mode" in service for service in SERVICES.values())


def test_nobody_but_the_api_has_a_way_out() -> None:
    internal = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal")}
    assert {name for name, service in SERVICES.items() if not set(service["networks"]) <= internal} == {"api"}


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" not in service])
def test_images_of_others_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.search(r"/\S+:[\w.-]+$", image)
    assert not image.endswith(":latest")


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_our_services_can_write_nowhere_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_service_of_ours_that_stays_says_how_it_is() -> None:
    """The API and the workers have their image's check; housekeeping asks its own listener."""
    check = " ".join(SERVICES["housekeeping"]["healthcheck"]["test"])
    port = SERVICES["housekeeping"]["environment"]["LADDER_METRICS_LISTEN"].rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/healthz" in check
    for name in ("api", "worker"):
        assert "healthcheck" not in SERVICES[name]


def test_a_workers_child_takes_no_more_than_half_of_the_threads_that_its_container_has() -> None:
    assert SERVICES["worker"]["pids_limit"] >= 2 * MAX_THREADS
