"""Folders of images: every layout means the same dataset, and what is wrong is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ladder_core.datasets import load_dataset
from ladder_core.datasets.images import Wanted
from ladder_core.datasets.layout import MAX_CLASSES, read_layout
from ladder_core.errors import ConfigError, DatasetError
from ladder_schema.config import InputConfig
from ladder_schema.errors import ErrorCode
from tests.ladder_core.datasets.uploads import encoded, load, numbered, pixels, png, write_tar, write_zip

CLASSES = ("ant", "bee", "cow")


def folders(part: str = "", each: int = 5, first: int = 0) -> dict[str, bytes]:
    """``part/class/NN.png``; image NN of class k is the image of a number of its own."""
    return {
        f"{part}{name}/{number:02}.png": png(first + 100 * label + number)
        for label, name in enumerate(CLASSES)
        for number in range(each)
    }


SPLIT = folders("train/") | folders("test/", each=2, first=1_000)

ARCHIVES: dict[str, Callable[[Path], Path]] = {
    "zip": lambda d: write_zip(d / "d", SPLIT),
    "tar": lambda d: write_tar(d / "d", SPLIT),
    "tar.gz": lambda d: write_tar(d / "d", SPLIT, "w:gz"),
    "tar.bz2": lambda d: write_tar(d / "d", SPLIT, "w:bz2"),
    "tar.xz": lambda d: write_tar(d / "d", SPLIT, "w:xz"),
    "in a folder": lambda d: write_zip(d / "d", {f"insects/{name}": c for name, c in SPLIT.items()}),
    "upper case": lambda d: write_zip(d / "d", {n.replace("train", "Train"): c for n, c in SPLIT.items()}),
    "with a file manager's files": lambda d: write_zip(
        d / "d", SPLIT | {"__MACOSX/train/ant/00.png": b"no image", "train/ant/.DS_Store": b"1"}
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_every_kind_mean_the_same_dataset(name: str, tmp_path: Path) -> None:
    dataset = load(ARCHIVES[name](tmp_path), tmp_path / "work")
    assert dataset.class_names == CLASSES
    assert dataset.train.image_shape == (3, 6, 5)
    assert dataset.train.targets().tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert dataset.test.targets().tolist() == [0, 0, 1, 1, 2, 2]
    for label in range(3):
        for number in range(5):
            np.testing.assert_array_equal(numbered(dataset)[5 * label + number], pixels(100 * label + number))
    assert dataset.bad_images.count == 0
    assert dataset.format.startswith("image folders in a ")


def test_images_are_mapped_from_a_file_in_the_work_directory(tmp_path: Path) -> None:
    dataset = load(write_zip(tmp_path / "d", SPLIT), tmp_path / "work")
    assert isinstance(dataset.train.images, np.memmap)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.images is dataset.test.images
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["dataset-images.raw"]


def test_flat_folders_are_split_class_by_class_with_the_jobs_seed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d", folders(each=10))
    (tmp_path / "work").mkdir()
    first, again, other = (load_dataset(path, tmp_path / "work", seed=seed) for seed in (7, 7, 8))
    assert np.bincount(first.train.targets()).tolist() == [8, 8, 8]
    assert np.bincount(first.test.targets()).tolist() == [2, 2, 2]
    assert first.test.indices.tolist() == again.test.indices.tolist() != other.test.indices.tolist()
    assert "held out" in first.notes[-1]


def test_validation_images_are_measured_on_without_a_test_split(tmp_path: Path) -> None:
    dataset = load(write_zip(tmp_path / "d", folders("train/") | folders("val/", 2, 50)), tmp_path / "work")
    assert (len(dataset.train), len(dataset.test)) == (15, 6)
    assert "validation images were measured on" in dataset.notes[0]


def test_validation_images_are_neither_trained_nor_measured_on_beside_a_test_split(tmp_path: Path) -> None:
    dataset = load(write_zip(tmp_path / "d", SPLIT | folders("valid/", 3, 50)), tmp_path / "work")
    assert (len(dataset.train), len(dataset.test)) == (15, 6)
    assert "9 validation images were left out" in dataset.notes[0]


@pytest.mark.parametrize("files", [SPLIT, folders(each=10)], ids=["parts", "classes"])
def test_an_image_beside_what_a_folder_wraps_is_no_class(files: dict[str, bytes], tmp_path: Path) -> None:
    wrapped = {f"insects/{name}": content for name, content in files.items()}
    dataset = load(write_zip(tmp_path / "d", wrapped | {"insects/preview.png": png(1)}), tmp_path / "work")
    assert dataset.class_names == CLASSES
    assert len(dataset.train) + len(dataset.test) == len(files)
    assert any("left out: 1." in note for note in dataset.notes)


def test_a_class_may_have_folders_inside() -> None:
    layout = read_layout(["ant/1.png", "ant/more/2.png", "bee/1.png"])
    assert layout.class_names == ("ant", "bee")
    assert layout.place("ant/more/2.png") == layout.place("ant/1.png")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    names = {"ant": "train", "bee": "car", "cow": "bus"}
    files = {f"{names[name.split('/')[0]]}/{name.split('/')[1]}": c for name, c in folders().items()}
    assert load(write_zip(tmp_path / "d", files), tmp_path / "work").class_names == ("bus", "car", "train")


def test_numbered_folders_are_ordered_as_text_like_torchvision_and_it_says_so(tmp_path: Path) -> None:
    files = {f"{label}/{n}.png": png(n) for label in range(12) for n in range(2)}
    dataset = load(write_zip(tmp_path / "d", files), tmp_path / "work")
    assert dataset.class_names[:4] == ("0", "1", "10", "11")
    assert any("ordered as text" in note for note in dataset.notes)


def test_a_folder_may_be_called_a_very_long_number() -> None:
    assert read_layout(["1/1.png", "9" * 5_000 + "/1.png"]).class_names[0] == "1"


def test_names_cannot_speak_to_a_terminal(tmp_path: Path) -> None:
    layout = read_layout(["a\x1b[2J/1.png", "b\u202e/1.png"])
    assert any("cannot be shown" in note for note in layout.notes)
    files = {f"{name}/{n}.png": png(n) for name in ("a" * 240, "b") for n in range(2)}
    dataset = load(write_zip(tmp_path / "d", files), tmp_path / "work")
    assert dataset.class_names[0] == "a" * 199 + "…"


def test_grey_among_colour_becomes_colour_and_the_other_way_round(tmp_path: Path) -> None:
    for first in ("ant", "cow"):
        grey = {name: encoded(pixels(i, channels=1)) for i, name in enumerate(SPLIT) if first in name}
        dataset = load(write_zip(tmp_path / "d", SPLIT | grey), tmp_path / "work")
        assert dataset.train.image_shape == (3, 6, 5)
        assert any("three equal channels" in note for note in dataset.notes)
        images = numbered(dataset)
        for row, name in enumerate(name for name in SPLIT if name.startswith("train")):
            if name in grey:
                expected = np.repeat(pixels(list(SPLIT).index(name), channels=1)[..., None], 3, axis=2)
                np.testing.assert_array_equal(images[row], expected)
    np.testing.assert_array_equal(images[0], pixels(0))


def test_all_grey_stays_grey(tmp_path: Path) -> None:
    files = {name: encoded(pixels(i, channels=1)) for i, name in enumerate(SPLIT)}
    dataset = load(write_zip(tmp_path / "d", files), tmp_path / "work")
    assert dataset.train.image_shape == (1, 6, 5)
    assert dataset.notes == ()
    three = load(tmp_path / "d", tmp_path / "work", asked=InputConfig(channels=3))
    assert three.train.image_shape == (3, 6, 5)


def test_eight_and_sixteen_bits_mean_the_same_shares(tmp_path: Path) -> None:
    grey = pixels(0, channels=1)
    deep = np.random.default_rng(0).integers(0, 65536, (6, 5), dtype=np.uint16)
    files = {name: encoded(deep if "cow" in name else grey) for name in SPLIT}
    dataset = load(write_zip(tmp_path / "d", files), tmp_path / "work")
    images, labels = dataset.train.batch(range(15))
    torch.testing.assert_close(images[labels == 0][0, 0], torch.from_numpy(grey) / 255, atol=1e-7, rtol=0)
    expected = torch.from_numpy(deep.astype(np.float32) / 65535)
    torch.testing.assert_close(images[labels == 2][0, 0], expected, atol=1e-7, rtol=0)


SIZES = {name: encoded(pixels(i, (6 + i % 3, 5))) for i, name in enumerate(SPLIT)}


def test_several_sizes_are_refused_with_a_list(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"config\.input\.size") as raised:
        load(write_zip(tmp_path / "d", SIZES), tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_IMAGES_INVALID
    assert "3 sizes" in raised.value.message
    assert all(f"{height} x 5 (7)" in raised.value.message for height in (6, 7, 8))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"asked": InputConfig(size=(4, 9))}, id="asked"),
        pytest.param({"model": Wanted((4, 9))}, id="known of the model"),
        pytest.param({"asked": InputConfig(size=(4, 9)), "model": Wanted((7, 7))}, id="asked comes first"),
    ],
)
def test_several_sizes_are_brought_to_the_one_wanted(options: dict, tmp_path: Path) -> None:
    dataset = load(write_zip(tmp_path / "d", SIZES), tmp_path / "work", **options)
    assert dataset.train.image_shape == (3, 4, 9)
    assert "21 images were resized to 4 x 9" in dataset.notes[0]


def with_bad(count: int, of: int = 100) -> dict[str, bytes]:
    kinds = (b"not an image", png(1)[:-60], encoded(pixels(1), "JPEG"), b"")
    good = {f"{name}/{n:03}.png": png(n) for name in ("a", "b") for n in range(of // 2)}
    return good | {f"a/{n:03}.png": kinds[n % 4] for n in range(count)}


def test_few_bad_images_are_left_out_counted_and_named(tmp_path: Path) -> None:
    dataset = load(write_zip(tmp_path / "d", with_bad(4)), tmp_path / "work", max_bad_images=0.04)
    assert dataset.bad_images.count == 4
    assert len(dataset.train) + len(dataset.test) == 96
    named = "; ".join(dataset.bad_images.examples)
    assert "a/000.png is no PNG, JPEG, WEBP, BMP or TIFF file" in named
    assert "a/001.png is damaged or cut short" in named
    assert "a/002.png is a JPEG file, not what its extension .png says" in named


def test_more_bad_images_than_accepted_are_refused(tmp_path: Path) -> None:
    says = r"8 of 100 images \(8.0%\).*max_bad_images accepts 1.0%"
    with pytest.raises(DatasetError, match=says) as raised:
        load(write_zip(tmp_path / "d", with_bad(8)), tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_IMAGES_INVALID
    assert "a/000.png" in raised.value.message


def test_a_damaged_member_is_one_bad_image(tmp_path: Path) -> None:
    files = {name: png(number) for number, name in enumerate(with_bad(0))}
    content = bytearray(write_zip(tmp_path / "d", files).read_bytes())
    at = content.index(files["a/007.png"])
    content[at + 50] ^= 0xFF
    (tmp_path / "d").write_bytes(content)
    dataset = load(tmp_path / "d", tmp_path / "work")
    assert dataset.bad_images.examples == ("a/007.png is damaged in the archive",)


REFUSED = {
    "no images": ({"notes.txt": b"hello"}, ErrorCode.DATASET_UNREADABLE, "notes.txt"),
    "no folders": ({f"{n}.png": png(n) for n in range(9)}, ErrorCode.DATASET_UNLABELLED, "train/<class>/"),
    "one class": ({f"a/{n}.png": png(n) for n in range(9)}, ErrorCode.DATASET_TOO_FEW_CLASSES, "one class"),
    "one image a class": ({"a/1.png": png(1), "b/1.png": png(2)}, ErrorCode.DATASET_TOO_SMALL, "at least 2"),
    "no training images": (
        folders("test/") | folders("val/"),
        ErrorCode.DATASET_TOO_SMALL,
        "none to train on",
    ),
    "all bad": (
        {f"{c}/{n}.png": b"x" for c in "ab" for n in range(9)},
        ErrorCode.DATASET_IMAGES_INVALID,
        "18 of 18",
    ),
    "leads out": ({"../a/1.png": png(1), "b/1.png": png(2)}, ErrorCode.DATASET_UNSAFE, "leads out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_archives_are_refused_by_name(name: str, tmp_path: Path) -> None:
    files, code, says = REFUSED[name]
    with pytest.raises(DatasetError, match=says) as raised:
        load(write_zip(tmp_path / "d", files), tmp_path / "work", max_bad_images=1.0)
    assert raised.value.code is code


def test_a_million_classes_are_refused() -> None:
    with pytest.raises(DatasetError, match=f"{MAX_CLASSES} are accepted"):
        read_layout(f"{n}/1.png" for n in range(MAX_CLASSES + 1))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b\x08" + b"\0" * 99, b"BZh9" + b"\0" * 99])
def test_no_dataset_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        load(tmp_path / "d", tmp_path / "work")
    assert raised.value.code is ErrorCode.DATASET_UNREADABLE


def test_arrays_are_used_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=np.zeros((8, 6, 5), np.uint8), y_train=np.arange(8) % 2)
    assert load(tmp_path / "d.npz", tmp_path / "work").format == "npz"
    with pytest.raises(ConfigError, match=r"preprocessing\.resize"):
        load(tmp_path / "d.npz", tmp_path / "work", asked=InputConfig(size=(8, 8)))


def test_cifar10_loads(cifar10: Path, tmp_path: Path) -> None:
    dataset = load(cifar10, tmp_path / "work")
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(dataset.train.targets()).tolist() == [5_000] * 10
    assert np.bincount(dataset.test.targets()).tolist() == [1_000] * 10
    assert dataset.train.image_shape == (3, 32, 32)
    assert (dataset.notes, dataset.bad_images.count) == ((), 0)
