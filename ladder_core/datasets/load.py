"""Recognises an uploaded dataset by its content, never by its name, and reads it."""

from pathlib import Path

from ladder_core.datasets.archives import Archive, open_archive
from ladder_core.datasets.base import Dataset
from ladder_core.datasets.folders import load_folders
from ladder_core.datasets.images import Wanted
from ladder_core.datasets.layout import image_folders
from ladder_core.datasets.npz import load_npz
from ladder_core.errors import ConfigError, DatasetError
from ladder_core.text import shown_list
from ladder_schema.config import InputConfig
from ladder_schema.errors import ErrorCode

ACCEPTED = "an .npz archive of arrays, a zip or tar of image folders, or Parquet of encoded images and labels"
_PARQUET = b"PAR1"
_AS_THEY_ARE = InputConfig()
_ANY = Wanted()


def load_dataset(
    path: Path,
    work_dir: Path,
    *,
    seed: int,
    asked: InputConfig = _AS_THEY_ARE,
    model: Wanted = _ANY,
    max_bad_images: float = 0.01,
) -> Dataset:
    """Read a labelled image dataset of any accepted format.

    Args:
        path: The uploaded file.
        work_dir: Where arrays and decoded images are kept; must outlive the dataset.
        seed: Seeds the stratified split where there is no test split.
        asked: What the configuration asks of the images.
        model: What the model takes, as far as known; images in files are brought to it, unless the
            configuration asks for something else.
        max_bad_images: Largest share of images that may be left out.

    Raises:
        DatasetError: It is no dataset, or not one that can be used.
        ConfigError: The configuration asks for what this format cannot give.
    """
    wanted = Wanted(asked.size or model.size, asked.channels or model.channels)
    archive = open_archive(path)
    if archive is None:
        with path.open("rb") as file:
            if file.read(len(_PARQUET)) != _PARQUET:
                raise DatasetError(
                    ErrorCode.DATASET_UNREADABLE, f"the dataset is of no known format: send {ACCEPTED}"
                )
        return _load_parquet(path, work_dir, wanted, asked, max_bad_images, seed)
    kind = _kind(archive)
    if kind == "npz":
        return _as_asked(load_npz(path, work_dir, seed=seed), asked)
    if kind == "parquet":
        return _load_parquet(archive, work_dir, wanted, asked, max_bad_images, seed)
    return load_folders(archive, work_dir, wanted=wanted, max_bad_images=max_bad_images, seed=seed)


def _kind(archive: Archive) -> str:
    """Return ``npz``, ``parquet`` or ``folders``, whichever the first telling member says."""
    for name in archive.names:
        lower = name.lower()
        if lower.endswith(".npy") and archive.mode is None:
            return "npz"
        if lower.endswith(".parquet"):
            return "parquet"
        if image_folders(name) is not None:
            return "folders"
    raise DatasetError(
        ErrorCode.DATASET_UNREADABLE,
        "the archive holds neither arrays nor images nor Parquet (found: "
        f"{shown_list(archive.names, 5) or 'nothing'}): send {ACCEPTED}",
    )


def _load_parquet(
    source: Path | Archive,
    work_dir: Path,
    wanted: Wanted,
    asked: InputConfig,
    max_bad_images: float,
    seed: int,
) -> Dataset:
    # pyarrow takes a quarter of a second and 60 MB to import, and most datasets need none of it.
    from ladder_core.datasets.parquet import load_parquet  # noqa: PLC0415

    return load_parquet(
        source,
        work_dir,
        wanted=wanted,
        max_bad_images=max_bad_images,
        label_column=asked.label_column,
        seed=seed,
    )


def _as_asked(dataset: Dataset, asked: InputConfig) -> Dataset:
    """Check that arrays, which are used as they are, have the size and channels that are asked for."""
    channels, height, width = dataset.train.image_shape
    if asked.size not in (None, (height, width)) or asked.channels not in (None, channels):
        raise ConfigError(
            ErrorCode.CONFIG_UNSUITABLE,
            f"config.input asks for other images than the npz archive's {channels} x {height} x {width} "
            "(channels, height, width): arrays are used as they are; leave config.input out, or set "
            "preprocessing.resize",
        )
    return dataset
