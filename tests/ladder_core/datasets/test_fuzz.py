"""Mutated dataset files: each is read or refused with a named error, whatever byte is wrong.

``LADDER_FUZZ_EXAMPLES`` sets how many of each kind are tried; a few by default, thousands to be thorough.
"""

import functools
import io
import os
import shutil
import tempfile
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladder_core.datasets import load_dataset
from ladder_core.errors import HardeningError
from tests.ladder_core.datasets.uploads import encoded, parquet_bytes, pixels, table, write_tar, write_zip

EXAMPLES = int(os.environ.get("LADDER_FUZZ_EXAMPLES", "60"))
FORMS = {
    "PNG": {},
    "JPEG": {},
    "WEBP": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
}

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=10),
    derandomize=EXAMPLES <= 60,  # the same few in every run of the suite, new ones in a thorough one
    suppress_health_check=list(HealthCheck),
    database=None,
)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """A few edits, each at a share of the file's length: it fits a file of any size."""
    kinds = st.sampled_from(["overwrite", "insert", "delete", "cut", "repeat"])
    values = st.binary(min_size=1, max_size=8) | st.sampled_from(
        [b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f"]
    )
    places = st.floats(0, 1, exclude_max=True)
    return draw(st.lists(st.tuples(kinds, places, values), min_size=1, max_size=4))


def damaged(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, value in edits:
        at = int(share * len(content))
        if kind == "overwrite":
            content = content[:at] + value + content[at + len(value) :]
        elif kind == "insert":
            content = content[:at] + value + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + len(value) :]
        elif kind == "repeat":
            content = content[:at] + content[max(0, at - 64) :]
        else:
            content = content[:at]
    return content


def images(form: str = "PNG") -> list[bytes]:
    return [encoded(pixels(number, (8, 9)), form, **FORMS[form]) for number in range(12)]


def folder_files(contents: list[bytes], extension: str = "png") -> dict[str, bytes]:
    return {
        f"{'train' if n < 8 else 'test'}/{'ab'[n % 2]}/{n}.{extension}": c for n, c in enumerate(contents)
    }


@functools.cache
def uploads() -> dict[str, bytes]:
    """One small good file of each kind."""
    with tempfile.TemporaryDirectory() as directory:
        return _uploads(Path(directory) / "d")


def _uploads(path: Path) -> dict[str, bytes]:
    files = folder_files(images())
    shard = parquet_bytes(table(images(), [n % 2 for n in range(12)], ("a", "b")), row_group_size=5)
    arrays = {"x_train": np.stack([pixels(n) for n in range(12)]), "y_train": np.arange(12) % 2}
    with path.open("wb") as file:
        np.savez(file, class_names=["a", "b"], **arrays)
    return {
        "npz": path.read_bytes(),
        "zip": write_zip(path, files).read_bytes(),
        "tar": write_tar(path, files).read_bytes(),
        "tar.gz": write_tar(path, files, "w:gz").read_bytes(),
        "tar.xz": write_tar(path, files, "w:xz").read_bytes(),
        "parquet": shard,
        "shards": write_zip(path, {"train-0.parquet": shard, "test-0.parquet": shard}).read_bytes(),
    }


def read_or_refuse(content: bytes) -> str:
    """Load a dataset file; return how that ended. Anything but a named error goes through."""
    directory = Path(tempfile.mkdtemp(prefix="ladder-fuzz-"))
    try:
        (directory / "upload").write_bytes(content)
        (directory / "work").mkdir()
        dataset = load_dataset(directory / "upload", directory / "work", seed=0, max_bad_images=1.0)
        batch, labels = dataset.train.batch(range(min(4, len(dataset.train))))
        assert batch.min() >= 0
        assert batch.max() <= 1
        assert len(batch) == len(labels)
        assert all(name.isprintable() for name in dataset.class_names)
    except HardeningError as error:
        ending, message = str(error.code), error.message
    else:
        ending, message = "read", ""
    finally:
        # Nothing may have been written anywhere but where it was told to.
        assert {path.name for path in directory.iterdir()} == {"upload", "work"}
        shutil.rmtree(directory)
    assert message.isprintable(), message
    assert str(directory) not in message, "a path of ours is nobody's business"
    return ending


# What takes an array's header for Python, and what it says of the array.
HEADERS = st.sampled_from(
    ["[" * 9000, "-" * 9000 + "1", "(" * 300, "1", "{}", "{'descr': '|u1'}", "'" * 3, "\\"]
)
DTYPES = st.sampled_from(["|u1", "<f4", ">f4", "|O", "|V0", "<U9999999", "<M8[s]", "<c8", "<f16", "x", ""])
SIZES = st.sampled_from([0, 1, 2, 3, 8, 12, -1, True, 1.5, None, "8", 1 << 31, 1 << 62, 1 << 64])


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """An npy header: odd text, or a dictionary of odd things."""
    if draw(st.booleans()):
        return draw(HEADERS).encode()
    shape = tuple(draw(st.lists(SIZES, max_size=5)))
    order = draw(st.sampled_from([True, False, 0, None]))
    return repr({"descr": draw(DTYPES), "fortran_order": order, "shape": shape}).encode()


@fuzzed
@given(
    header=headers(), member=st.sampled_from(["x_train", "y_train", "class_names"]), size=st.integers(0, 4096)
)
def test_odd_headers_are_read_or_refused(header: bytes, member: str, size: int) -> None:
    """The container is whole, and one array's header says what NumPy would not write."""
    odd = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(size)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(uploads()["npz"])) as good, zipfile.ZipFile(buffer, "w") as changed:
        for name in good.namelist():
            changed.writestr(name, odd if name == f"{member}.npy" else good.read(name))
    read_or_refuse(buffer.getvalue())


@fuzzed
@given(points=st.lists(st.integers(0, 0xFFFFFFFF), min_size=4, max_size=4))
def test_odd_class_names_are_read_or_refused(points: list[int]) -> None:
    """Code points that are none, controls and surrogates: nothing of them reaches a report."""
    descr = repr({"descr": "<U2", "fortran_order": False, "shape": (2,)}).encode() + b"\n"
    content = b"".join(point.to_bytes(4, "little") for point in points)
    odd = b"\x93NUMPY\x01\x00" + len(descr).to_bytes(2, "little") + descr + content
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(uploads()["npz"])) as good, zipfile.ZipFile(buffer, "w") as changed:
        for name in good.namelist():
            changed.writestr(name, odd if name == "class_names.npy" else good.read(name))
    read_or_refuse(buffer.getvalue())


KINDS = ("npz", "zip", "tar", "tar.gz", "tar.xz", "parquet", "shards")


@pytest.mark.parametrize("kind", KINDS)
def test_good_files_are_read(kind: str) -> None:
    assert read_or_refuse(uploads()[kind]) == "read"


@pytest.mark.parametrize("kind", KINDS)
@fuzzed
@given(edits=damages())
def test_damaged_files_are_read_or_refused(kind: str, edits: list) -> None:
    read_or_refuse(damaged(uploads()[kind], edits))


@pytest.mark.parametrize("form", FORMS)
@fuzzed
@given(edits=st.lists(damages(), min_size=1, max_size=12))
def test_damaged_images_in_whole_archives_are_read_or_refused(form: str, edits: list) -> None:
    contents = images(form)
    for number, edit in enumerate(edits):
        contents[number] = damaged(contents[number], edit)
    with tempfile.TemporaryDirectory() as directory:
        path = write_zip(Path(directory) / "d", folder_files(contents, form.lower()))
        read_or_refuse(path.read_bytes())
