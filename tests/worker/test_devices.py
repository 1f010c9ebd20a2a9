"""Which device a worker's jobs get, on a machine whose GPUs the test decides on."""

import json

import pytest
from structlog.testing import capture_logs

from worker import devices
from worker.devices import NoDeviceError, choose_device


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make device nodes, and let the process that would ask torch run this code instead."""

    def build(*nodes: str, torch: str = "raise SystemExit(9)") -> None:
        for node in nodes:
            (tmp_path / node).touch()
        monkeypatch.setattr(devices, "_DEV", tmp_path)
        monkeypatch.setattr(devices, "_QUESTION", torch)

    return build


def answer(*names: str) -> str:
    return f"print('a warning'); print({json.dumps(json.dumps(names))})"


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_a_worker_for_the_cpu_asks_nobody(machine, wanted):
    machine()
    assert choose_device(wanted, queue="cpu") == "cpu"


def test_a_gpu_is_taken_where_there_is_one(machine, monkeypatch):
    machine("nvidia0", torch=answer("NVIDIA H100"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with capture_logs() as logs:
        assert choose_device("auto", queue="gpu") == choose_device("cuda", queue="gpu") == "cuda"
    assert logs[0]["name"] == "NVIDIA H100"
    assert logs[0]["visible"] == "3"
    assert [entry["event"] for entry in logs] == ["device", "device"]


def test_of_several_gpus_the_first_is_used_and_the_log_says_how_to_use_the_others(machine):
    machine("nvidia0", "nvidia1", torch=answer("A", "B"))
    with capture_logs() as logs:
        assert choose_device("auto", queue="gpu") == "cuda"
    (warning,) = [entry for entry in logs if entry["event"] == "several_gpus"]
    assert "one worker for each, with its own CUDA_VISIBLE_DEVICES" in warning["remedy"]


MISSING = {
    "no device node": ((), "", "no device node of a GPU"),
    "only the control node": (("nvidiactl",), "", "no device node of a GPU"),
    "a torch without CUDA": (("nvidia0",), answer(), "torch sees none"),
    "a torch that fails": (("nvidia0",), "raise SystemExit('driver too old')", "driver too old"),
    "a torch that dies": (("dxg",), "import os; os.abort()", "exit code -6"),
    "a torch that babbles": (("nvidia0",), "print('hello')", "did not answer"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_a_worker_for_a_gpu_that_is_not_there_refuses_to_start(machine, missing):
    nodes, torch, reason = MISSING[missing]
    machine(*nodes, torch=torch)
    with pytest.raises(NoDeviceError, match=reason) as refusal:
        choose_device("cuda", queue="gpu")
    assert "CUDA_VISIBLE_DEVICES" in str(refusal.value)
    assert "--device cpu" in str(refusal.value)


def test_a_worker_of_the_gpu_queue_without_one_says_so_and_works(machine):
    machine()
    with capture_logs() as logs:
        assert choose_device("auto", queue="gpu") == "cpu"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("no_gpu", "warning")]
    with capture_logs() as logs:
        assert choose_device("auto", queue="cpu") == "cpu"
    assert logs == []
