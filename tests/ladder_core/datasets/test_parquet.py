"""Parquet as the datasets library writes it: one file or shards, ClassLabel, integers or text."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ladder_core.datasets.layout import Part
from ladder_core.datasets.parquet import part_of
from ladder_core.errors import DatasetError
from ladder_schema.config import InputConfig
from ladder_schema.errors import ErrorCode
from tests.ladder_core.datasets.uploads import (
    load,
    numbered,
    parquet_bytes,
    pixels,
    png,
    table,
    write_parquet,
    write_tar,
    write_zip,
)

NAMES = ("zebra", "ant", "mole")
IMAGES = [png(number) for number in range(90)]
LABELS = [number % 3 for number in range(90)]


def assert_images(found: list[np.ndarray], numbers: list[int]) -> None:
    for image, number in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(image, pixels(number))


def test_one_file_is_split(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d", table(IMAGES, LABELS, NAMES), row_group_size=7)
    dataset = load(path, tmp_path / "work")
    assert dataset.class_names == NAMES
    assert dataset.format == "Parquet"
    assert np.bincount(dataset.test.targets()).tolist() == [6, 6, 6]
    assert_images(numbered(dataset), dataset.train.indices.tolist())
    assert dataset.train.targets().tolist() == [LABELS[row] for row in dataset.train.indices]


@pytest.mark.parametrize("write", [write_zip, write_tar], ids=["zip", "tar"])
def test_shards_are_put_together(write, tmp_path: Path) -> None:
    def shard(rows: slice) -> bytes:
        return parquet_bytes(table(IMAGES[rows], LABELS[rows], NAMES))

    files = {
        "README.md": b"hello",
        "data/test-00000-of-00001.parquet": shard(slice(60, 75)),
        "data/train-00000-of-00002.parquet": shard(slice(0, 40)),
        "data/train-00001-of-00002.parquet": shard(slice(40, 60)),
        "data/validation-00000-of-00001.parquet": shard(slice(75, 90)),
    }
    dataset = load(write(tmp_path / "d", files), tmp_path / "work")
    assert (len(dataset.train), len(dataset.test)) == (60, 15)
    assert "15 validation images were left out" in dataset.notes[0]
    assert_images(numbered(dataset), list(range(60)))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["dataset-images.raw"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-00000-of-00001.parquet", Part.TRAIN),
        ("data/test-00000-of-00001-abc.parquet", Part.TEST),
        ("validation/0000.parquet", Part.VALIDATION),
        ("default/test/0000.parquet", Part.TEST),
        ("val.parquet", Part.VALIDATION),
        ("test/train-0.parquet", Part.TRAIN),
        ("0000.parquet", Part.TRAIN),
    ],
)
def test_shards_say_which_part_they_are(name: str, part: Part) -> None:
    assert part_of(name) is part


def test_hidden_test_labels_leave_the_validation_split_to_measure_on(tmp_path: Path) -> None:
    files = {
        "train-0.parquet": parquet_bytes(table(IMAGES[:60], LABELS[:60], NAMES)),
        "test-0.parquet": parquet_bytes(table(IMAGES[:9], [-1] * 8 + [None], NAMES)),
        "validation-0.parquet": parquet_bytes(table(IMAGES[60:], LABELS[60:], NAMES)),
    }
    dataset = load(write_zip(tmp_path / "d", files), tmp_path / "work")
    assert (len(dataset.train), len(dataset.test)) == (60, 30)
    assert dataset.notes[0] == "Rows without a label were left out: 9."


def test_labels_may_be_the_names_of_classes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d", table(IMAGES, [NAMES[label] for label in LABELS]))
    dataset = load(path, tmp_path / "work")
    assert dataset.class_names == ("ant", "mole", "zebra")
    expected = [("ant", "mole", "zebra").index(NAMES[row % 3]) for row in dataset.train.indices]
    assert dataset.train.targets().tolist() == expected


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_may_be_plain_bytes(kind: pa.DataType, tmp_path: Path) -> None:
    content = pa.table(
        {"pixels": pa.array(IMAGES, kind), "target": pa.array(LABELS, pa.uint8()), "id": list(range(90))}
    )
    dataset = load(write_parquet(tmp_path / "d", content), tmp_path / "work")
    assert dataset.class_names == ()
    assert_images(numbered(dataset), dataset.train.indices.tolist())


def test_the_label_column_can_be_named(tmp_path: Path) -> None:
    content = table(IMAGES, LABELS).rename_columns(["img", "fine"])
    content = content.append_column("coarse", pa.array([number % 2 for number in range(90)]))
    path = write_parquet(tmp_path / "d", content)
    with pytest.raises(DatasetError, match=r"config\.input\.label_column") as raised:
        load(path, tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_UNLABELLED
    dataset = load(path, tmp_path / "work", asked=InputConfig(label_column="coarse"))
    assert set(dataset.train.targets()) == {0, 1}


def test_bad_rows_are_bad_images(tmp_path: Path) -> None:
    images = [b"no image", None, *IMAGES[2:]]
    dataset = load(
        write_parquet(tmp_path / "d", table(images, LABELS, NAMES)), tmp_path / "work", max_bad_images=0.1
    )
    first, second = dataset.bad_images.examples
    assert first == "the Parquet file row 0 is no PNG, JPEG, WEBP, BMP or TIFF file"
    assert second.startswith("the Parquet file row 1 has no bytes")


def shards(first: pa.Table, second: pa.Table) -> dict[str, bytes]:
    return {"train-0.parquet": parquet_bytes(first), "train-1.parquet": parquet_bytes(second)}


REFUSED = {
    "no images": (pa.table({"label": LABELS}), ErrorCode.DATASET_UNREADABLE, "0 columns of encoded images"),
    "no labels": (
        table(IMAGES, LABELS).drop_columns("label"),
        ErrorCode.DATASET_UNLABELLED,
        "0 columns that may hold the labels",
    ),
    "label beyond the names": (
        table(IMAGES, [3, *LABELS[1:]], NAMES),
        ErrorCode.DATASET_LABELS_INVALID,
        "row 0 of the Parquet file has the label 3",
    ),
    "label out of this world": (
        table(IMAGES, [2**62, *LABELS[1:]]),
        ErrorCode.DATASET_LABELS_INVALID,
        "from 0 to 99999",
    ),
    "negative label": (table(IMAGES, [-2, *LABELS[1:]]), ErrorCode.DATASET_LABELS_INVALID, "label -2"),
    "no rows": (table(IMAGES, LABELS).slice(0, 0), ErrorCode.DATASET_TOO_SMALL, "no labelled images"),
    "other classes": (
        shards(table(IMAGES, LABELS, NAMES), table(IMAGES, LABELS, ("a", "b", "c"))),
        ErrorCode.DATASET_LABELS_INVALID,
        "names other classes",
    ),
    "text after numbers": (
        shards(table(IMAGES, LABELS), table(IMAGES, list(map(str, LABELS)))),
        ErrorCode.DATASET_LABELS_INVALID,
        "the name of its class",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    content, code, says = REFUSED[name]
    path = tmp_path / "d"
    if isinstance(content, dict):
        write_zip(path, content)
    else:
        write_parquet(path, content)
    with pytest.raises(DatasetError, match=says) as raised:
        load(path, tmp_path / "work")
    assert raised.value.code is code


@pytest.mark.parametrize(
    "metadata",
    [b"[", b"[[]]", b'{"info": {"features": [1]}}', b'{"info": {"features": {"label": 1}}}', b"[" * 100_000],
)
def test_what_the_metadata_says_may_be_nonsense(metadata: bytes, tmp_path: Path) -> None:
    content = table(IMAGES, LABELS).replace_schema_metadata({b"huggingface": metadata})
    assert load(write_parquet(tmp_path / "d", content), tmp_path / "work").class_names == ()


@pytest.mark.parametrize("keep", [4, 100, -1, -9])
def test_cut_off_files_are_refused(keep: int, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "d", table(IMAGES, LABELS, NAMES))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError) as raised:
        load(path, tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_UNREADABLE


def test_one_image_stored_for_many_rows_is_read_a_row_at_a_time(tmp_path: Path) -> None:
    """A dictionary holds it once; 32 rows at once would be 32 copies."""
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(buffer, "BMP")
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int32()), pa.array([buffer.getvalue()]))
    content = pa.table({"image": rows, "label": [number % 2 for number in range(40)]})
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    path = write_parquet(tmp_path / "d", content, **options)
    assert path.stat().st_size < 20_000
    pa.default_memory_pool().release_unused()
    before = pa.default_memory_pool().bytes_allocated()
    dataset = load(path, tmp_path / "work", asked=InputConfig(size=(8, 8)))
    assert len(dataset.train) + len(dataset.test) == 40
    assert pa.default_memory_pool().max_memory() - before < 16 * len(buffer.getvalue())


def test_a_column_that_unpacks_to_far_more_than_it_is_is_not_read(tmp_path: Path) -> None:
    blank = [bytes([number]) + bytes(2 << 20) for number in range(60)]
    bomb = table(blank, [number % 3 for number in range(60)], NAMES)
    path = write_parquet(tmp_path / "d", bomb, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DatasetError, match=r"column 'image' of .* unpacks from \d+ bytes to \d+") as raised:
        load(path, tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_UNSAFE
    assert "250 times is allowed" in raised.value.message
