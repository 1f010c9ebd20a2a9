"""Reads ``.npz`` archives: ``x_train, y_train`` and optionally ``x_test, y_test, x_val, y_val, class_names``.

Or ``train_images, train_labels`` and so on, as MedMNIST has them.
Members are unpacked to the work directory and memory-mapped, so that a dataset's size is not a process's.
"""

import errno
import lzma
import shutil
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ladder_core.datasets.base import Dataset, Indices, Split
from ladder_core.datasets.splits import choose_splits
from ladder_core.errors import DatasetError
from ladder_core.text import shown
from ladder_schema.errors import ErrorCode

_PARTS = ("train", "test", "val")
_MEMBERS = {
    "class_names.npy": "class_names",
    **{f"{axis}_{part}.npy": f"{axis}_{part}" for part in _PARTS for axis in "xy"},
    # MedMNIST's names, whose labels are columns.
    **{f"{part}_images.npy": f"x_{part}" for part in _PARTS},
    **{f"{part}_labels.npy": f"y_{part}" for part in _PARTS},
}
_CHUNK_BYTES = 64 << 20
_MAX_LABEL = 1_000_000
_FLOATS = (np.dtype("float16"), np.dtype("float32"), np.dtype("float64"))
_OVERSHOOT = 2.0
# What NumPy and zipfile raise for damaged or foreign content; a full disk is no fault of the upload.
_UNREADABLE = (
    ValueError, TypeError, EOFError, OverflowError, NotImplementedError, RuntimeError, zlib.error,
    lzma.LZMAError,
    # Of Python's parser, which reads an array's header.
    SyntaxError, MemoryError, tokenize.TokenError,
)  # fmt: skip
_LAYOUTS = "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"


def load_npz(path: Path, work_dir: Path, *, seed: int) -> Dataset:
    """Read a labelled image dataset.

    Args:
        path: The uploaded archive.
        work_dir: Where the arrays are unpacked to; must outlive the dataset.
        seed: Seeds the stratified split where the archive has no test split.

    Returns:
        The dataset, its images as views in NCHW order.

    Raises:
        DatasetError: The archive is not readable, or its arrays are not labelled images.
    """
    arrays = _unpack(path, work_dir)
    if "x_train" not in arrays:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"the archive has no array x_train (found: {_names(arrays)}): save it with "
            "numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)",
        )
    read: list[str] = []
    splits = {part: _read_split(arrays, part, read) for part in _PARTS if f"x_{part}" in arrays}
    for part, split in splits.items():
        _check_alike(f"x_{part}", split, splits["train"])
    train, test, chosen = choose_splits(splits["train"], splits.get("test"), splits.get("val"), seed=seed)
    return Dataset(
        train,
        test,
        _class_names(arrays),
        tuple(dict.fromkeys([*read, *chosen])),
        test_given=bool(splits.get("test") or splits.get("val")),
    )


def _check_alike(name: str, split: Split, train: Split) -> None:
    if split.image_shape != train.image_shape:
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID,
            f"{name} holds images of shape {split.image_shape}, x_train {train.image_shape} "
            "(channels, height, width): give both the same size",
        )
    if split.scale != train.scale:
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID,
            f"one of x_train and {name} is in [0, 1], the other in [0, 255]: give both in one unit",
        )


def _names(arrays: dict[str, npt.NDArray[Any]]) -> str:
    return ", ".join(sorted(arrays)) or "nothing"


def _unpack(path: Path, work_dir: Path) -> dict[str, npt.NDArray[Any]]:
    """Unpack the known members and map them; pickled objects are refused by ``allow_pickle=False``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = _MEMBERS.get(member.filename)
                if name is None:
                    continue
                if name in arrays:
                    _refuse_double(name)
                target = work_dir / f"dataset-{name}.npy"
                with archive.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                arrays[name] = np.load(target, mmap_mode="r", allow_pickle=False)
    except zipfile.BadZipFile as error:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"the dataset is not a readable .npz archive ({error}): it is cut short, or not from numpy.savez",
        ) from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise DatasetError(
                ErrorCode.DATASET_TOO_LARGE,
                "an array of the dataset is larger than a job's file may be: send fewer images, or uint8 "
                "instead of floating point",
            ) from error
        raise
    except _UNREADABLE as error:
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"an array of the dataset cannot be read ({error}): save plain numeric arrays with numpy.savez, "
            "without Python objects",
        ) from error
    return arrays


def _refuse_double(name: str) -> NoReturn:
    spellings = " and ".join(member for member, meaning in _MEMBERS.items() if meaning == name)
    raise DatasetError(
        ErrorCode.DATASET_UNREADABLE,
        f"the archive has {name} twice ({spellings}): keep the one that you mean",
    )


def _read_split(arrays: dict[str, npt.NDArray[Any]], name: str, notes: list[str]) -> Split:
    images = _as_nchw(arrays[f"x_{name}"], f"x_{name}")
    labels = _read_labels(arrays, name, len(images))
    return Split(images, labels, np.arange(len(images)), _pixel_scale(images, f"x_{name}", notes))


def _as_nchw(images: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """View the array as (N, C, H, W)."""
    if images.dtype != np.uint8 and images.dtype.newbyteorder("=") not in _FLOATS:
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID,
            f"{name} has dtype {images.dtype}: give uint8 in 0..255 or floating point in [0, 1]",
        )
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    elif images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID, f"{name} has shape {images.shape}: give {_LAYOUTS}"
        )
    if 0 in images.shape:
        raise DatasetError(
            ErrorCode.DATASET_TOO_SMALL, f"{name} has shape {images.shape}: it holds no pixels"
        )
    return images


def _read_labels(arrays: dict[str, npt.NDArray[Any]], name: str, count: int) -> Indices:
    key = f"y_{name}"
    if key not in arrays:
        raise DatasetError(
            ErrorCode.DATASET_UNLABELLED,
            f"the archive has no array {key} (found: {_names(arrays)}): add the class index of every image",
        )
    labels = np.asarray(arrays[key])
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuf":
        raise DatasetError(
            ErrorCode.DATASET_LABELS_INVALID,
            f"{key} has shape {labels.shape} and dtype {labels.dtype}: give one class index per image, shape "
            "(N,); one-hot and multi-label rows are not supported",
        )
    if len(labels) != count:
        raise DatasetError(
            ErrorCode.DATASET_LABELS_INVALID,
            f"{key} has {len(labels)} labels for {count} images: give one label per image",
        )
    whole = np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0) & (labels < _MAX_LABEL)
    if not whole.all():
        row = int(np.flatnonzero(~whole)[0])
        raise DatasetError(
            ErrorCode.DATASET_LABELS_INVALID,
            f"{key}[{row}] is {labels[row]}: class indices are whole numbers from 0 to {_MAX_LABEL - 1}",
        )
    return labels.astype(np.int64)


def _pixel_scale(images: npt.NDArray[Any], name: str, notes: list[str]) -> float:
    """Return what maps stored values to [0, 1], after checking every value."""
    if images.dtype == np.uint8:
        return 1 / 255
    low, high = np.inf, -np.inf
    rows = max(1, _CHUNK_BYTES // images[0].nbytes)
    for start in range(0, len(images), rows):
        chunk = images[start : start + rows]
        if not np.isfinite(chunk).all():
            row = start + int(np.flatnonzero(~np.isfinite(chunk).reshape(len(chunk), -1).all(1))[0])
            raise DatasetError(
                ErrorCode.DATASET_IMAGES_INVALID,
                f"{name}[{row}] holds NaN or infinity: give finite pixels in [0, 1]",
            )
        low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if low < 0 or high > 255:
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID,
            f"{name} has values from {low:.4g} to {high:.4g}: give pixels in [0, 1] or [0, 255], and put any "
            "normalisation in config.preprocessing (value_range, mean, std)",
        )
    if 1 < high < _OVERSHOOT:
        raise DatasetError(
            ErrorCode.DATASET_IMAGES_INVALID,
            f"{name} reaches {high:.4g}, which is neither [0, 1] nor [0, 255]: clip the pixels to [0, 1]",
        )
    if high > 1:
        notes.append(f"Pixels of {name} reach {high:.4g}: they were read as 0 to 255.")
        return 1 / 255
    return 1.0


def _class_names(arrays: dict[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    names = arrays.get("class_names")
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE,
            f"class_names has shape {names.shape} and dtype {names.dtype}: give one text a class, shape (K,)",
        )
    try:
        return tuple(shown(str(name)) for name in names)
    except (ValueError, SystemError) as error:  # code points beyond Unicode's
        raise DatasetError(
            ErrorCode.DATASET_UNREADABLE, f"class_names holds what is no text ({error}): save plain names"
        ) from error
