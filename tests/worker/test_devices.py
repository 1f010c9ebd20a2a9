"""Which device a worker's jobs get, on a machine whose GPUs the test decides on."""

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from worker import devices
from worker.devices import NoDeviceError, choose_device, pin_card
from worker.sandbox.nodes import own_nodes


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


INFORMATION = """Model: \t\t {model}
IRQ:   \t\t 130
GPU UUID: \t {uuid}
Video BIOS: \t 96.00.74.00.01
Bus Type: \t PCIe
DMA Size: \t 52 bits
Bus Location: \t {bus}
Device Minor: \t {minor}
GPU Excluded:\t No
"""
FIRST, SECOND = "GPU-1111aaaa-0000-1111-2222-333344445555", "GPU-2222bbbb-0000-1111-2222-333344445555"
SHARED = {"nvidiactl", "nvidia-uvm"}
H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"


@pytest.fixture
def two_cards(tmp_path, monkeypatch):
    """A machine on which the first card on the bus has the second node; the driver's files as they are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "put back as it was")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    dev, driver = tmp_path / "dev", tmp_path / "driver"
    (dev / "nvidia-caps").mkdir(parents=True)
    for name in ("nvidia0", "nvidia1", "nvidia-modeset", "nvidia-uvm-tools", *SHARED):
        (dev / name).touch()

    def build(second: str = H100, uuid: str = SECOND) -> dict[str, Path]:
        listed = (("0000:19:00.0", H100, FIRST, 1), ("0000:3b:00.0", second, uuid, 0))
        for bus, model, card_uuid, minor in listed:
            place = driver / "gpus" / bus
            place.mkdir(parents=True)
            text = INFORMATION.format(model=model, uuid=card_uuid, bus=bus, minor=minor)
            (place / "information").write_text(text)
        return {"dev": dev, "driver": driver}

    return build


def names(machine: dict[str, Path], visible: str | None = None) -> set[str]:
    return {path.name for path in own_nodes(visible, **machine)}


@pytest.mark.parametrize(
    ("visible", "uuid", "node"),
    [
        (None, FIRST, "nvidia1"),
        ("0", FIRST, "nvidia1"),
        ("1", SECOND, "nvidia0"),
        ("1,0", SECOND, "nvidia0"),
        (SECOND, SECOND, "nvidia0"),
        ("GPU-2222", SECOND, "nvidia0"),
    ],
)
def test_a_child_gets_the_node_of_its_own_card(two_cards, monkeypatch, visible, uuid, node):
    machine = two_cards()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    pin_card("cuda", **machine)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == uuid
    assert names(machine) == {node, *SHARED}


def test_cards_of_different_models_are_counted_where_the_order_is_known(two_cards, monkeypatch):
    machine = two_cards(second=A100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    pin_card("cuda", **machine)
    assert names(machine) == {"nvidia0", *SHARED}


@pytest.mark.parametrize(
    ("second", "uuid", "visible"),
    [
        (A100, SECOND, "1"),
        (H100, "GPU-????????-????-????-????-????????????", "1"),
        (H100, SECOND, "2"),
        (H100, SECOND, "GPU-"),
        (H100, SECOND, "GPU-3333"),
        (H100, SECOND, ""),
    ],
)
def test_where_the_card_is_unknown_the_log_says_so_and_all_are_open(
    two_cards, monkeypatch, second, uuid, visible
):
    machine = two_cards(second, uuid)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with capture_logs() as logs:
        pin_card("cuda", **machine)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("card_unknown", "warning")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert names(machine) == {"nvidia0", "nvidia1", *SHARED}


def test_a_part_of_a_card_has_nodes_of_its_own(two_cards, monkeypatch):
    machine, part = two_cards(), f"MIG-{SECOND}/1/0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", part)
    pin_card("cuda", **machine)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == part
    assert names(machine) == {"nvidia0", "nvidia-caps", *SHARED}
    # Newer drivers do not say whose part it is.
    assert names(machine, "MIG-0a1b2c3d-0000-1111") == {"nvidia0", "nvidia1", "nvidia-caps", *SHARED}


def test_of_one_card_nothing_has_to_be_known(tmp_path):
    (tmp_path / "nvidia0").touch()
    with capture_logs() as logs:
        pin_card("cuda", dev=tmp_path, driver=tmp_path)
    assert logs == []
    assert [path.name for path in own_nodes("0", tmp_path, tmp_path)] == ["nvidia0"]
