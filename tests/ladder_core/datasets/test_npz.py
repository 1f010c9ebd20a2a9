"""Every layout that is accepted means the same images; everything else is refused with a remedy."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ladder_core.datasets import Dataset, load_npz
from ladder_core.errors import DatasetError
from ladder_schema.errors import ErrorCode

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def load(tmp_path: Path, **arrays: Any) -> Dataset:
    return load_npz(write(tmp_path / "d.npz", **arrays), tmp_path, seed=0)


def pixels(dataset: Dataset) -> torch.Tensor:
    return dataset.train.batch(range(len(dataset.train)))[0]


EXPECTED = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(IMAGES, id="uint8 NHWC"),
        pytest.param(np.moveaxis(IMAGES, 3, 1), id="uint8 NCHW"),
        pytest.param((IMAGES / 255).astype(np.float32), id="float32 in [0, 1]"),
        pytest.param(IMAGES / 255, id="float64 in [0, 1]"),
        pytest.param(IMAGES.astype(np.float32), id="float32 in [0, 255]"),
        pytest.param((IMAGES / 255).astype(">f4"), id="float32, big-endian"),
        pytest.param((IMAGES / 255).astype(">f8"), id="float64, big-endian"),
    ],
)
def test_layouts_and_units_mean_the_same_images(images: np.ndarray, tmp_path: Path) -> None:
    dataset = load(tmp_path, x_train=images, y_train=LABELS, x_test=images, y_test=LABELS)
    assert pixels(dataset).dtype == torch.float32
    torch.testing.assert_close(pixels(dataset), EXPECTED, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [">i2", ">i8", ">f4", "|u1", "<u8"])
def test_labels_are_whole_numbers_of_any_type_and_may_be_a_column(dtype: str, tmp_path: Path) -> None:
    dataset = load(
        tmp_path, x_train=IMAGES, y_train=LABELS.astype(dtype)[:, None], x_test=IMAGES, y_test=LABELS
    )
    assert dataset.train.targets().tolist() == LABELS.tolist()
    assert dataset.train.batch([1, 2])[1].tolist() == LABELS[1:3].tolist()


def test_medmnist_is_read_as_it_comes(tmp_path: Path) -> None:
    arrays = {
        f"{part}_{what}": values[:count]
        for part, count in [("train", 40), ("val", 8), ("test", 12)]
        for what, values in [("images", IMAGES), ("labels", LABELS[:, None].astype(np.uint8))]
    }
    dataset = load(tmp_path, **arrays)
    assert (len(dataset.train), len(dataset.test)) == (40, 12)
    torch.testing.assert_close(pixels(dataset), EXPECTED, atol=1e-6, rtol=0)
    assert dataset.notes == ("The 8 validation images were left out; the test images were measured on.",)


def test_a_validation_split_is_measured_on_where_there_is_no_other(tmp_path: Path) -> None:
    dataset = load(tmp_path, x_train=IMAGES, y_train=LABELS, x_val=IMAGES[:8], y_val=LABELS[:8])
    assert (len(dataset.train), len(dataset.test)) == (40, 8)
    assert "the 8 validation images were measured on" in dataset.notes[0]


def test_grey_images_need_no_channel_axis(tmp_path: Path) -> None:
    grey = IMAGES[..., 0]
    dataset = load(tmp_path, x_train=grey, y_train=LABELS, x_test=grey, y_test=LABELS)
    assert dataset.train.image_shape == (1, 6, 5)
    torch.testing.assert_close(pixels(dataset), EXPECTED[:, :1], atol=1e-6, rtol=0)


def test_batches_keep_images_and_labels_together_in_any_order(tmp_path: Path) -> None:
    dataset = load(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    positions = RNG.permutation(40)[:17]
    images, labels = dataset.train.batch(positions)
    torch.testing.assert_close(images, EXPECTED[positions], atol=1e-6, rtol=0)
    assert labels.tolist() == LABELS[positions].tolist()


def test_images_stay_on_disk(tmp_path: Path) -> None:
    dataset = load(tmp_path, x_train=IMAGES, y_train=LABELS)
    base: Any = dataset.train.images
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_without_a_test_split_one_is_held_out_class_by_class(tmp_path: Path) -> None:
    dataset = load(tmp_path, x_train=IMAGES, y_train=LABELS)
    assert (len(dataset.train), len(dataset.test)) == (32, 8)
    assert np.bincount(dataset.test.targets()).tolist() == [2, 2, 2, 2]
    assert not set(dataset.train.indices) & set(dataset.test.indices)
    assert "held out" in dataset.notes[0]
    again = load(tmp_path, x_train=IMAGES, y_train=LABELS)
    assert dataset.test.indices.tolist() == again.test.indices.tolist()


def test_a_stratified_choice_keeps_class_shares(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [24, 12, 4])
    dataset = load(tmp_path, x_train=IMAGES, y_train=labels, x_test=IMAGES, y_test=labels)
    chosen = dataset.train.stratified(20, np.random.default_rng(0))
    assert np.bincount(chosen.targets()).tolist() == [12, 6, 2]
    assert len(set(chosen.indices)) == 20
    assert dataset.train.stratified(None, np.random.default_rng(0)) is dataset.train


def test_class_names_are_kept(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "cow", "owl"])
    assert load(tmp_path, x_train=IMAGES, y_train=LABELS, class_names=names).class_names == tuple(names)


BAD = {
    "no labels": ({"x_train": IMAGES}, ErrorCode.DATASET_UNLABELLED, "y_train"),
    "no images": ({"y_train": LABELS}, ErrorCode.DATASET_UNREADABLE, "x_train"),
    "no test labels": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES},
        ErrorCode.DATASET_UNLABELLED,
        "y_test",
    ),
    "one class": ({"x_train": IMAGES, "y_train": LABELS * 0}, ErrorCode.DATASET_TOO_FEW_CLASSES, "two"),
    "one-hot": (
        {"x_train": IMAGES, "y_train": np.eye(4)[LABELS]},
        ErrorCode.DATASET_LABELS_INVALID,
        "one-hot",
    ),
    "too few labels": (
        {"x_train": IMAGES, "y_train": LABELS[:-1]},
        ErrorCode.DATASET_LABELS_INVALID,
        "39 labels for 40 images",
    ),
    "negative label": (
        {"x_train": IMAGES, "y_train": LABELS - 1},
        ErrorCode.DATASET_LABELS_INVALID,
        r"y_train\[0\] is -1",
    ),
    "fractional label": (
        {"x_train": IMAGES, "y_train": LABELS + 0.5},
        ErrorCode.DATASET_LABELS_INVALID,
        "whole numbers",
    ),
    "text labels": (
        {"x_train": IMAGES, "y_train": LABELS.astype(str)},
        ErrorCode.DATASET_LABELS_INVALID,
        "class index",
    ),
    "NaN": (
        {"x_train": np.where(IMAGES[3, 0, 0, 0] == IMAGES, np.nan, 0.5), "y_train": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "NaN",
    ),
    "normalised": (
        {"x_train": (IMAGES / 255 - 0.5) / 0.2, "y_train": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "config.preprocessing",
    ),
    "integers": (
        {"x_train": IMAGES.astype(np.int64), "y_train": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "uint8",
    ),
    "four channels": (
        {"x_train": RNG.integers(0, 256, (40, 6, 5, 4), dtype=np.uint8), "y_train": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "C = 1 or 3",
    ),
    "flat": (
        {"x_train": IMAGES.reshape(40, -1), "y_train": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "shape",
    ),
    "empty": ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, ErrorCode.DATASET_TOO_SMALL, "no pixels"),
    "sizes differ": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :4], "y_test": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "same size",
    ),
    "units differ": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES / 255, "y_test": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "one unit",
    ),
    "validation sizes differ": (
        {"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES[:, :4], "y_val": LABELS},
        ErrorCode.DATASET_IMAGES_INVALID,
        "x_val holds images",
    ),
    "two spellings": (
        {"x_train": IMAGES, "y_train": LABELS, "train_images": IMAGES},
        ErrorCode.DATASET_UNREADABLE,
        "x_train twice",
    ),
    "lonely class": (
        {"x_train": IMAGES, "y_train": np.array([9] + [0, 1] * 19 + [1])},
        ErrorCode.DATASET_TOO_SMALL,
        "class 9",
    ),
    "objects": (
        {"x_train": np.array([object()] * 40), "y_train": LABELS},
        ErrorCode.DATASET_UNREADABLE,
        "Python objects",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_refused_by_name(name: str, tmp_path: Path) -> None:
    arrays, code, says = BAD[name]
    with pytest.raises(DatasetError, match=says) as raised:
        load(tmp_path, **arrays)
    assert raised.value.code is code


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_cut_off_archives_are_refused(keep: int, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.npz", x_train=IMAGES, y_train=LABELS).read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole[:keep])
    with pytest.raises(DatasetError) as raised:
        load_npz(cut, tmp_path, seed=0)
    assert raised.value.code is ErrorCode.DATASET_UNREADABLE


def test_a_damaged_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "d.npz", x_train=IMAGES, y_train=LABELS).read_bytes())
    content[2000:2010] = b"\xff" * 10
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        load_npz(damaged, tmp_path, seed=0)
    assert raised.value.code is ErrorCode.DATASET_UNREADABLE


@pytest.mark.parametrize(
    "header", ["[" * 9000, "-" * 9000, "{'descr': '|u1', 'fortran_order': False, 'shape': (12, True, 8), }"]
)
def test_a_header_that_confuses_its_parser_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "odd.npz"
    text = header.encode() + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(12 * 8)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", member)
    with pytest.raises(DatasetError) as raised:
        load_npz(path, tmp_path, seed=0)
    assert raised.value.code is ErrorCode.DATASET_UNREADABLE


def test_class_names_carry_nothing_unprintable(tmp_path: Path) -> None:
    names = np.array(["a\x1b[2J", "b\u202e", "c\ud800"])
    path = write(tmp_path / "d.npz", x_train=IMAGES, y_train=LABELS, class_names=names)
    assert load_npz(path, tmp_path, seed=0).class_names == ("a?[2J", "b?", "c?")
