"""Files of a child that are not what they say: none is loaded, and none costs more memory than its check."""

import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from worker import formats
from worker.endings import NotFinite, ProtocolViolation
from worker.formats import check_archive, check_safetensors


def tensor(dtype: str = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write_weights(path: Path, header: object, data: bytes = bytes(4)) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_what_the_libraries_write_passes(tmp_path):
    save_file(
        {"w": np.ones((3, 4), np.float32), "none": np.ones((0, 2)), "b": np.ones(5, np.int64)},
        tmp_path / "weights",
        metadata={"format": "pt"},
    )
    check_safetensors(tmp_path / "weights")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "model"))
    check_archive(tmp_path / "model")


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ([], "no valid header"),
        ({"w": None}, "an impossible tensor"),
        ({"w": tensor(dtype="F32")}, "an impossible tensor"),
        ({"w": tensor(dtype="Q7")}, "an impossible tensor"),
        ({"w": tensor(shape=[2**40, 2**40])}, "an impossible tensor"),
        ({"w": tensor(shape=[-2, -2])}, "an impossible tensor"),
        ({"w": tensor(shape=[True, 4])}, "an impossible tensor"),
        ({"w": tensor(shape=[1] * 1000 + [4])}, "an impossible tensor"),
        ({"w": tensor(offsets=[4, 8])}, "overlap or leave a gap"),
        ({"w": tensor(), "v": tensor()}, "overlap or leave a gap"),
        ({"w": tensor(shape=[9], offsets=[0, 9])}, "9 bytes of tensors and has 4"),
        ({}, "0 bytes of tensors and has 4"),
    ],
)
def test_tensors_are_as_large_as_they_say_and_fill_the_file(tmp_path, header, complaint):
    with pytest.raises(ProtocolViolation, match=complaint):
        check_safetensors(write_weights(tmp_path / "weights", header))


FLOATS = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [*FLOATS, "BF16"])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(tmp_path, monkeypatch, dtype, value):
    monkeypatch.setattr(formats, "_CHUNK_BYTES", 64)
    if dtype == "BF16":
        # The upper half of a float32.
        data = np.linspace(-1, 1, 100, dtype="<f4")
        data[70] = value
        stored = (data.view("<u4") >> 16).astype("<u2").tobytes()
    else:
        data = np.linspace(-1, 1, 100).astype(FLOATS[dtype])
        data[70] = value
        stored = data.tobytes()
    header = {
        "before": tensor("U8", [3], [0, 3]),
        "w": tensor(dtype, [100], [3, 3 + len(stored)]),
    }
    path = write_weights(tmp_path / "weights", header, b"\xff" * 3 + stored)
    with pytest.raises(NotFinite, match="not finite in w"):
        check_safetensors(path)


def test_extreme_values_and_masks_are_no_fault(tmp_path):
    floats = np.finfo(np.float32)
    mask = np.triu(np.full((300, 300), -np.inf, np.float32), 1)
    extremes = np.array([floats.max, floats.min, floats.tiny, floats.smallest_subnormal, -0.0], np.float32)
    path = tmp_path / "weights"
    save_file({"mask": mask, "extremes": extremes, "integers": np.full(9, -1, np.int32)}, path)
    check_safetensors(path)
    mask[0, 0] = np.nan
    save_file({"mask": mask}, path)
    with pytest.raises(NotFinite):
        check_safetensors(path)


def test_large_weights_are_read_in_little_memory(tmp_path):
    path = tmp_path / "weights"
    save_file({"w": np.ones(16 << 20, np.float32)}, path)
    tracemalloc.start()
    check_safetensors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


def test_a_large_header_is_not_read(tmp_path):
    path = write_weights(tmp_path / "weights", {"w" * 40 + str(n): [[]] for n in range(100_000)})
    tracemalloc.start()
    with pytest.raises(ProtocolViolation, match="no valid header"):
        check_safetensors(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_large_directory_is_not_read(tmp_path):
    path = tmp_path / "examples.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30_000):
            archive.writestr(f"{number:0200}", b"")
    tracemalloc.start()
    with pytest.raises(ProtocolViolation, match="no archive"):
        check_archive(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/cron.d/evil", "a/../../evil", "a\\b", "a\x1b[2J", "n" * 600]
)
def test_no_entry_can_be_unpacked_elsewhere(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "examples.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ProtocolViolation, match="unfit name"):
        check_archive(tmp_path / "examples.zip")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing more", b"PK\x05\x06" + b"\xff" * 18])
def test_what_only_begins_like_an_archive_is_none(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ProtocolViolation, match="no archive"):
        check_archive(tmp_path / "model.pt")


def test_an_archive_has_entries_and_each_name_once(tmp_path):
    path = tmp_path / "examples.zip"
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(ProtocolViolation, match="0 entries"):
        check_archive(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(ProtocolViolation, match="two entries"):
        check_archive(path)
